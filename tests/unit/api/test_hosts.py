"""Patterns of hosts mean what a platform team reads in them."""

import pytest

from bulkhead_api.hosts import url_allowed

CASES = [
    (["api.example.com"], "https://api.example.com/x", True, "the host itself"),
    (["api.example.com"], "https://API.Example.com./x", True, "another spelling of the host"),
    (["*.example.com"], "https://a.b.example.com", True, "a host below a domain"),
    (["*.example.com"], "https://example.com", False, "the domain itself is not below it"),
    (["*.example.com"], "https://x.example.com.evil.test", False, "a domain that begins alike"),
    (["api.example.com"], "https://api.example.com@evil.test/", False, "a name before the host"),
    (["api.example.com:8443"], "https://api.example.com:8443/", True, "the port that is named"),
    (["api.example.com:8443"], "https://api.example.com/", False, "another port"),
    (["api.example.com:443"], "https://api.example.com/", True, "the usual port of https"),
    (["api.example.com:443"], "http://api.example.com/", False, "the usual port of http"),
    (["::1"], "http://[::1]:8080/", True, "an address of IPv6"),
    (["*"], "https://api.example.com:x/", False, "a malformed port"),
    ([], "https://api.example.com/", False, "no pattern at all"),
]


@pytest.mark.parametrize(
    ("patterns", "url", "allowed"),
    [pytest.param(*case, id=name) for *case, name in CASES],
)
def test_a_pattern_names_hosts(patterns: list[str], url: str, *, allowed: bool) -> None:
    assert url_allowed(patterns, url) is allowed
