"""Ids that nobody can guess: the system's randomness, taken in larger pieces.

A request makes half a dozen ids, and asking the kernel of the machine for each costs more than the
rest of making them.
"""

import os
from typing import Final

_PIECE_BYTES: Final = 4096


class _Randomness:
    """Random digits, each handed out once; belongs to the event loop's thread."""

    def __init__(self) -> None:
        self._piece = ""
        self._at = 0
        os.register_at_fork(after_in_child=self._forget)

    def take(self, digits: int) -> str:
        end = self._at + digits
        if end > len(self._piece):
            self._piece, self._at, end = os.urandom(_PIECE_BYTES).hex(), 0, digits
        taken = self._piece[self._at : end]
        self._at = end
        return taken

    def _forget(self) -> None:
        """Begin anew: a child process must not hand out what its parent does."""
        self._piece, self._at = "", 0


_RANDOMNESS: Final = _Randomness()


def random_hex(size: int) -> str:
    """Return `size` random bytes, at most 4096, as hexadecimal text."""
    return _RANDOMNESS.take(2 * size)


def new_id(prefix: str) -> str:
    """Return an id of its own: the prefix and 96 random bits."""
    return f"{prefix}_{_RANDOMNESS.take(24)}"
