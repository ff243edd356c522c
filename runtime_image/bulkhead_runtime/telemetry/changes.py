"""One signal for everything that is counted; costs next to nothing while nobody waits for it."""

import asyncio


class Changes:
    """Tells who waits that something changed; belongs to the event loop's thread."""

    __slots__ = ("_next",)

    def __init__(self) -> None:
        self._next: asyncio.Future[None] | None = None

    def note(self) -> None:
        """Say that something changed."""
        if self._next is not None:
            self._tell(self._next)

    def next(self) -> "asyncio.Future[None]":
        """Return what is done at the next change; waiting for it must not cancel it."""
        if self._next is None:
            self._next = asyncio.get_running_loop().create_future()
        return self._next

    def _tell(self, waiting: "asyncio.Future[None]") -> None:
        self._next = None
        waiting.set_result(None)
