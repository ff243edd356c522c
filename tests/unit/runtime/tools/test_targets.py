"""Addresses as models write them: what is read from them, what is refused."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulkhead_runtime.policy.patterns import Patterns
from bulkhead_runtime.tools.errors import ToolError
from bulkhead_runtime.tools.web.targets import check_host, parse_target


@pytest.mark.parametrize(
    ("text", "host"),
    [
        pytest.param("https://example.com/a?b=c#d", "example.com", id="a plain one"),
        pytest.param("HTTP://EXAMPLE.COM", "example.com", id="capitals"),
        pytest.param("https://example.com./", "example.com", id="a dot at the end"),
        pytest.param("https://münchen.example/", "xn--mnchen-3ya.example", id="an umlaut"),
        pytest.param("https://1.2.3.4:8443/", "1.2.3.4", id="an IPv4 address"),
        pytest.param("http://[2606:4700::1111]/", "2606:4700::1111", id="an IPv6 address"),
        pytest.param("https://\uff45xample.com/", "example.com", id="a wide letter"),
    ],
)
def test_the_host_of_an_address(text: str, host: str) -> None:
    assert parse_target(text).raw_host == host


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("", id="nothing"),
        pytest.param("example.com", id="no scheme"),
        pytest.param("//example.com/", id="no scheme but slashes"),
        pytest.param("file:///etc/passwd", id="a file"),
        pytest.param("gopher://example.com/", id="gopher"),
        pytest.param("ftp://example.com/", id="ftp"),
        pytest.param("javascript:alert(1)", id="a script"),
        pytest.param("http:///etc", id="no host"),
        pytest.param("http://", id="only a scheme"),
        pytest.param("http://.", id="a host of dots"),
        pytest.param("http://user@example.com/", id="a user"),
        pytest.param("http://user:pass@example.com/", id="a user with a password"),
        pytest.param("http://example.com@127.0.0.1/", id="a host as user"),
        pytest.param("http://:pass@example.com/", id="a password alone"),
        pytest.param("http://example.com\\@127.0.0.1/", id="a backslash"),
        pytest.param("http://example.com/\r\nHost: x", id="a line break"),
        pytest.param("http://exa mple.com/", id="a space in the host"),
        pytest.param("http://example.com/a b", id="a space in the path"),
        pytest.param("http://2130706433/", id="one decimal number"),
        pytest.param("http://0x7f000001/", id="one hexadecimal number"),
        pytest.param("http://017700000001/", id="one octal number"),
        pytest.param("http://0177.0.0.1/", id="octal parts"),
        pytest.param("http://0x7f.0.0.1/", id="hexadecimal parts"),
        pytest.param("http://127.1/", id="parts left out"),
        pytest.param("http://127.0.0.1.5/", id="one part too many"),
        pytest.param("http://example.0x7f/", id="a name that ends in a number"),
        pytest.param("http://\uff11\uff12\uff17.1/", id="wide digits"),
        pytest.param("http://[::1%25eth0]/", id="an interface"),
        pytest.param("http://[::1/", id="an open bracket"),
        pytest.param("http://example.com:99999/", id="a port that is none"),
        pytest.param("http://example.com:abc/", id="a port of letters"),
        pytest.param("http://exa%00mple.com/", id="an escaped zero byte"),
        pytest.param("https://example.com/" + "a" * 2_048, id="too long"),
    ],
)
def test_what_is_refused_before_anything_is_resolved(text: str) -> None:
    with pytest.raises(ToolError) as refused:
        parse_target(text)
    assert refused.value.code == "invalid_url"


@given(st.text(max_size=60))
def test_any_text_is_an_address_of_the_web_or_refused(text: str) -> None:
    for candidate in (text, f"http://{text}", f"http://{text}@example.com/{text}"):
        try:
            url = parse_target(candidate)
        except ToolError:
            continue
        assert url.scheme in {"http", "https"}
        assert url.raw_user is None
        assert url.raw_host


@pytest.mark.parametrize(
    ("text", "allowed", "passes"),
    [
        ("https://docs.example.com/", ["*.example.com"], True),
        ("https://example.com/", ["*.example.com"], False),
        ("https://docs.example.com.evil.org/", ["*.example.com"], False),
        ("https://DOCS.example.com./", ["docs.example.com"], True),
        ("https://anything.org/", None, True),
        ("https://anything.org:22/", None, False),
        ("https://anything.org:8443/", None, True),
    ],
)
def test_hosts_and_ports_that_may_be_read(
    text: str, allowed: list[str] | None, passes: bool
) -> None:
    url = parse_target(text)
    patterns = Patterns(allowed) if allowed else None
    if passes:
        check_host(url, patterns)
        return
    with pytest.raises(ToolError) as refused:
        check_host(url, patterns)
    assert refused.value.code == "forbidden_address"
