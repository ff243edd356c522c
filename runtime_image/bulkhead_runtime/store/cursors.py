"""Cursors of pages: numbers that a page gave out, and nothing else."""

from bulkhead_runtime.store import refusals

NEWEST = 2**62
"""Beyond every time and every sequence."""

_MAX_DIGITS = len(str(NEWEST)) - 1


def number(text: str) -> int:
    """Return the number of a cursor; raise a 422 `Problem` for what no page gave out."""
    if not (text.isascii() and text.isdecimal() and len(text) <= _MAX_DIGITS):
        raise refusals.invalid_cursor()
    return int(text)
