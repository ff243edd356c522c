"""Addresses that a model or a tenant wrote, checked before anything is resolved.

One parser reads them, the HTTP client's own: two that disagree about where a host ends are how
such checks are usually passed.
"""

import re
from ipaddress import AddressValueError, IPv4Address
from typing import Final

from yarl import URL

from bulkhead_runtime.policy.patterns import Patterns
from bulkhead_runtime.tools.errors import ToolError

MAX_URL_CHARACTERS: Final = 2_048
WEB_PORTS: Final = frozenset({80, 443, 8080, 8443})

_SCHEMES: Final = frozenset({"http", "https"})
_NOT_IN_URLS: Final = re.compile(r"[\x00-\x20\x7f-\x9f\\]")
_ENDS_IN_A_NUMBER: Final = re.compile(r"(^|\.)([0-9]+|0[xX][0-9a-fA-F]*)$")
"""Such hosts are IPv4 addresses to resolvers, in whatever spelling."""


def parse_target(text: str) -> URL:
    """Return the address that a text names; raise `ToolError` for what is not plain http(s).

    The host of the result is in lower case, in punycode, and without a dot at its end.
    """
    if len(text) > MAX_URL_CHARACTERS:
        raise _refused(f"it has more than {MAX_URL_CHARACTERS} characters")
    if _NOT_IN_URLS.search(text):
        raise _refused("it holds spaces, control characters or backslashes: escape them")
    try:
        url = URL(text)
        host, port = url.raw_host, url.port
    except ValueError:
        raise _refused("it is not a URL: write https://HOST/PATH") from None
    if url.scheme not in _SCHEMES or not host or port is None:
        raise _refused("it is not an address of the web: write https://HOST/PATH")
    if url.raw_user is not None or url.raw_password is not None:
        raise _refused("it holds a user name: leave out everything before '@'")
    host = host.lower().rstrip(".")
    if not host or "%" in host:
        raise _refused("its host is not a name")
    _refuse_odd_numbers(host)
    try:
        return url.with_host(host).with_fragment(None)
    except ValueError:
        raise _refused("its host is not a name") from None


def check_host(url: URL, allowed: Patterns | None) -> None:
    """Raise `ToolError` for a port that is not the web's, or a host outside those allowed."""
    if url.port not in WEB_PORTS:
        ports = ", ".join(map(str, sorted(WEB_PORTS)))
        raise ToolError("forbidden_address", f"Port {url.port} may not be read, only {ports}.")
    if allowed is not None and url.raw_host not in allowed:
        raise ToolError(
            "forbidden_address",
            f"Host {url.host!r} is not among those that this organization may read "
            "(spec.tools.webFetch.allowedHosts).",
        )


def _refuse_odd_numbers(host: str) -> None:
    if ":" in host or not _ENDS_IN_A_NUMBER.search(host):
        return
    try:
        IPv4Address(host)
    except AddressValueError:
        raise _refused("its host is a number: write a name") from None


def _refused(reason: str) -> ToolError:
    return ToolError("invalid_url", f"The address cannot be used: {reason}.")
