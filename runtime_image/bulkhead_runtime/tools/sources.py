"""What the calls to one source share: places, and a circuit for each peer that it calls.

A source is never flooded, and a peer that is down is left alone and costs nobody but who calls it.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Final, Generic, TypeVar

from bulkhead_runtime.models.circuit import Circuit, CircuitState
from bulkhead_runtime.tools.errors import ToolError, TransientError

CALLS_AT_ONCE: Final = 16
FAILURES_BEFORE_OPEN: Final = 5
OPEN_SECONDS: Final = 30.0
MAX_NAMES: Final = 256

Kept = TypeVar("Kept")


class Sources:
    """All sources and peers that were called, the longest unused forgotten beyond a bound."""

    def __init__(self, changed: Callable[[str, CircuitState], None]) -> None:
        self._places = _Recent(lambda _: asyncio.Semaphore(CALLS_AT_ONCE))
        self._peers = _Recent(lambda name: _Peer(name, changed))

    @asynccontextmanager
    async def call(self, source: str, peer: str, deadline: float) -> AsyncIterator[None]:
        """Hold a place of the source for one call and count how it ends for the peer.

        Raises `ToolError` while the peer is down. A call that is cut off at its deadline, a time
        of `time.monotonic()`, counts as failed; one that its caller gives up earlier says nothing
        of the peer.
        """
        async with self._places.get(source), self._peers.get(peer).counted(deadline):
            yield


class _Peer:
    """Who is called: a server, or a host."""

    def __init__(self, name: str, changed: Callable[[str, CircuitState], None]) -> None:
        self._name = name
        self._circuit = Circuit(
            FAILURES_BEFORE_OPEN, OPEN_SECONDS, lambda state: changed(name, state)
        )

    @asynccontextmanager
    async def counted(self, deadline: float) -> AsyncIterator[None]:
        permit = self._circuit.admit(time.monotonic())
        if permit is None:
            seconds = self._circuit.wait(time.monotonic())
            raise ToolError(
                "source_down",
                f"{self._name} failed too often and is left alone for {seconds:.0f} s: try "
                "something else meanwhile.",
            )
        try:
            yield
        except (TransientError, TimeoutError):
            self._circuit.failed(permit, time.monotonic(), None)
            raise
        except asyncio.CancelledError:
            if time.monotonic() < deadline:
                self._circuit.abandoned(permit)
            else:
                self._circuit.failed(permit, time.monotonic(), None)
            raise
        except BaseException:
            self._circuit.succeeded(permit)
            raise
        self._circuit.succeeded(permit)


class _Recent(Generic[Kept]):
    """What was made by name, as long as it is among the last used."""

    def __init__(self, make: Callable[[str], Kept]) -> None:
        self._make = make
        self._kept: dict[str, Kept] = {}

    def get(self, name: str) -> Kept:
        kept = self._kept.pop(name, None) or self._make(name)
        self._kept[name] = kept
        if len(self._kept) > MAX_NAMES:
            del self._kept[next(iter(self._kept))]
        return kept
