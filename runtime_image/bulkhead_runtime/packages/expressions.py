"""Regular expressions of package authors, which no answer can make slow: RE2's time is linear."""

from typing import Final

_MAX_MEMORY_BYTES: Final = 8 * 1024 * 1024


def found(expression: str, text: str) -> bool:
    """Tell whether `expression` is found in `text`; one that RE2 cannot read is found nowhere."""
    import re2  # noqa: PLC0415 (needed by the first check that has an expression)

    options = re2.Options()
    options.max_mem = _MAX_MEMORY_BYTES
    options.log_errors = False
    try:
        return re2.search(expression, text, options) is not None
    except re2.error:
        return False
