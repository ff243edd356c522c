"""Which hosts a pattern of a spec means, for those who judge a spec and those who carry it out."""

from collections.abc import Iterable
from fnmatch import fnmatchcase
from urllib.parse import urlsplit


def host_allowed(patterns: Iterable[str], host: str, port: int) -> bool:
    """Tell whether a pattern names the host: `*` any characters, `?` one, `host:port` one port.

    Case and a trailing dot make no difference, as in DNS.
    """
    name = host.lower().rstrip(".")
    return any(_matches(pattern.lower(), name, port) for pattern in patterns)


def _matches(pattern: str, name: str, port: int) -> bool:
    named, colon, wanted = pattern.rpartition(":")
    if colon and wanted.isdecimal() and ":" not in named:
        return int(wanted) == port and fnmatchcase(name, named)
    return fnmatchcase(name, pattern)


def url_allowed(patterns: Iterable[str], url: str) -> bool:
    """Tell whether a pattern names the host of an http or https URL; a malformed one is not."""
    try:
        parts = urlsplit(url)
        port = parts.port or (443 if parts.scheme == "https" else 80)
    except ValueError:
        return False
    return parts.hostname is not None and host_allowed(patterns, parts.hostname, port)
