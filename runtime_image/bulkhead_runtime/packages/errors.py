"""Why a package's content cannot be had."""


class SourceError(Exception):
    """The content of a version cannot be fetched or is not what is pinned; names the remedy."""
