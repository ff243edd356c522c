"""What this process knows of sessions that it saw: whose they are, and where they are pinned.

Only what never changes, or what does no harm when it is old: every turn is checked again by the
store when it begins. It saves the look-up before a turn.
"""

from collections import OrderedDict
from typing import Final

from msgspec import Struct

from bulkhead_runtime.store.port import Session

_REMEMBERED: Final = 2000
"""Twice as many as can be in a turn at once; another session costs one question more."""

BYTES_PER_TOKEN: Final = 4
"""Of usual text; a bound counts bytes, a provider tokens."""


class Head(Struct, frozen=True):
    """One session; `told_tokens` is the most that its conversation can be when it is told again."""

    principal: str
    agent: str
    package: str
    version: str
    told_tokens: int

    @classmethod
    def of(cls, session: Session) -> "Head":
        """Return the head of a session."""
        return cls(
            session.principal,
            session.agent,
            session.package,
            session.version,
            session.context_tokens * BYTES_PER_TOKEN,
        )


class SessionHeads:
    """The sessions that were used last."""

    def __init__(self) -> None:
        self._heads: OrderedDict[str, Head] = OrderedDict()

    def get(self, session_id: str, principal: str | None) -> Head | None:
        """Return what is known of a session of this principal, of anybody's where it is None."""
        head = self._heads.get(session_id)
        if head is None or principal not in {None, head.principal}:
            return None
        self._heads.move_to_end(session_id)
        return head

    def put(self, session_id: str, head: Head) -> None:
        """Remember a session, forgetting the one that was used longest ago."""
        self._heads[session_id] = head
        self._heads.move_to_end(session_id)
        if len(self._heads) > _REMEMBERED:
            self._heads.popitem(last=False)
