"""Why something cannot be packaged."""


class PackagingError(Exception):
    """The author's files, or those that were written, are not right; names file and remedy."""
