"""What follows from a configuration and is asked for by every request: made once for each."""

from collections.abc import Callable
from typing import Generic, TypeVar

Source = TypeVar("Source")
Made = TypeVar("Made")


class Derived(Generic[Source, Made]):
    """Makes something of the source at hand, and again when that is another one."""

    __slots__ = ("_from", "_made", "_make")

    def __init__(self, make: Callable[[Source], Made]) -> None:
        self._make = make
        self._from: Source | None = None
        self._made: Made

    def __call__(self, source: Source) -> Made:
        """Return what was made of this source."""
        if self._from is not source:
            self._made = self._make(source)
            self._from = source
        return self._made
