"""How a replica learns that another let go of a session or answered a request."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Protocol

from bulkhead_runtime.store.spending import Claim

PAUSE_SECONDS = 0.25
"""How long to wait before looking again where nobody tells."""


class Signal(Protocol):
    """One topic, watched."""

    async def wait(self, seconds: float) -> None:
        """Return when it is worth looking again, after `seconds` at the latest."""
        ...


def session_topic(session_id: str) -> str:
    """Return the topic of a session's turns."""
    return f"session:{session_id}"


def claim_topic(claim: Claim) -> str:
    """Return the topic of a claimed idempotency key."""
    return f"claim:{claim.principal}:{claim.key}"


class Pause:
    """A signal that nobody sends."""

    async def wait(self, seconds: float) -> None:
        """Return after a short while."""
        await asyncio.sleep(min(seconds, PAUSE_SECONDS))


class Signals:
    """Without Redis: nobody is told, so every watcher looks again a few times a second."""

    async def tell(self, topic: str) -> None:
        """Wake who watches a topic, where that can be done."""

    @asynccontextmanager
    async def watching(self, topic: str) -> AsyncIterator[Signal]:  # noqa: ARG002 (nobody tells)
        """Watch a topic; look after entering, wait, look again."""
        yield Pause()
