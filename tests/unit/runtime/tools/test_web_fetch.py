"""Reading pages, against a real server and a name server that lies."""

import gzip
import tracemalloc
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from bulkhead_runtime.tools.port import ToolEnvelope
from bulkhead_runtime.tools.web_fetch import MAX_REDIRECTS, MAX_TEXT_CHARACTERS
from tests.support.tool_homes import ToolHome, tool_context, tool_home
from tests.support.web_server import Names, WebServer, bomb, web_server

INSIDE = "127.0.0.1"
"""Where something listens that nobody may reach: the test server answers on all of the loopback."""


@pytest.fixture
def web() -> Iterator[WebServer]:
    with web_server() as server:
        yield server


@pytest.fixture
def names(web: WebServer) -> Names:
    return Names(
        news_example=[web.address],
        other_example=[web.address],
        inside_example=[INSIDE],
        both_example=[f"{INSIDE},{web.address}"],
        turning_example=[web.address, INSIDE],
        metadata_example=["169.254.169.254"],
    )


@pytest.fixture
async def home(tmp_path: Path, web: WebServer, names: Names) -> AsyncIterator[ToolHome]:
    home = tool_home(tmp_path, public=lambda address: address == web.address, resolver=names)
    home.configure(webFetch={"enabled": True, "maxBytes": 50_000, "timeoutSeconds": 30})
    yield home
    await home.registry.aclose()


async def fetch(home: ToolHome, url: str, **arguments: Any) -> ToolEnvelope:
    return await home.registry.run("web_fetch", {"url": url, **arguments}, tool_context())


def code(envelope: ToolEnvelope) -> str:
    return envelope.error.code if envelope.error else "ok"


def at(web: WebServer, path: str, host: str = "news.example") -> str:
    return f"http://{host}:{web.port}{path}"


async def test_a_page_is_read_as_its_title_and_text(home: ToolHome, web: WebServer) -> None:
    path = web.put("a", b"<title>News</title><script>x()</script><p>One<p>Two &amp; three")
    envelope = await fetch(home, at(web, path))
    assert envelope.untrusted
    assert envelope.data == {
        "url": at(web, path),
        "title": "News",
        "text": "News\nOne\nTwo & three",
    }


@pytest.mark.parametrize("host", ["inside.example", "metadata.example", "127.0.0.1", "[::1]"])
async def test_an_address_that_is_not_public_is_not_connected_to(
    home: ToolHome, web: WebServer, host: str
) -> None:
    envelope = await fetch(home, at(web, web.put("secret", b"inside"), host))
    assert code(envelope) == "forbidden_address"
    assert INSIDE not in str(envelope).replace(host, "")
    assert web.requests == []


async def test_a_host_with_an_inner_address_before_a_public_one_is_refused(
    home: ToolHome, web: WebServer
) -> None:
    envelope = await fetch(home, at(web, web.put("a", b"<p>x"), "both.example"))
    assert code(envelope) == "forbidden_address"
    assert web.requests == []


async def test_a_name_server_that_changes_its_answer_changes_nothing(
    home: ToolHome, web: WebServer
) -> None:
    """The first answer is public, the second one inner: each connection is judged by itself."""
    url = at(web, web.put("a", b"<p>public", connection="close"), "turning.example")
    assert code(await fetch(home, url)) == "ok"
    assert code(await fetch(home, url)) == "forbidden_address"
    assert len(web.requests) == 1


@pytest.mark.parametrize(
    ("to", "expected"),
    [
        pytest.param("http://inside.example:{port}/pages/x", "forbidden_address", id="inside"),
        pytest.param("http://2130706433:{port}/", "invalid_url", id="a number"),
        pytest.param("http://169.254.169.254/latest/", "forbidden_address", id="metadata"),
        pytest.param("file:///etc/passwd", "invalid_url", id="a file"),
        pytest.param("http://a:b@news.example:{port}/", "invalid_url", id="a user"),
        pytest.param("http://news.example:22/", "forbidden_address", id="another port"),
        pytest.param("http://[", "bad_answer", id="no address"),
    ],
)
async def test_a_redirect_is_judged_like_the_first_address(
    home: ToolHome, web: WebServer, to: str, expected: str
) -> None:
    envelope = await fetch(home, at(web, f"/redirect?to={to.format(port=web.port)}"))
    assert code(envelope) == expected
    assert len(web.requests) == 1


async def test_redirects_are_followed_but_not_for_ever(home: ToolHome, web: WebServer) -> None:
    target = at(web, web.put("end", b"<p>here"))
    envelope = await fetch(home, at(web, f"/redirect?to={target}"))
    assert envelope.data["text"] == "here"
    web.pages["loop"] = (302, {"location": "/pages/loop"}, b"")
    web.requests.clear()
    assert code(await fetch(home, at(web, "/pages/loop"))) == "bad_answer"
    assert len(web.requests) == MAX_REDIRECTS + 1


async def test_only_hosts_that_the_organization_allows_are_read(
    home: ToolHome, web: WebServer, names: Names
) -> None:
    home.configure(webFetch={"enabled": True, "allowedHosts": ["*.Example.org"]})
    envelope = await fetch(home, at(web, web.put("a", b"x")))
    assert code(envelope) == "forbidden_address"
    assert names.asked == []


async def test_a_long_page_is_read_in_parts(home: ToolHome, web: WebServer) -> None:
    path = web.put("long", b"a" * MAX_TEXT_CHARACTERS + b"the end", "text/plain")
    first = await fetch(home, at(web, path))
    assert first.data["continues_at"] == MAX_TEXT_CHARACTERS
    rest = await fetch(home, at(web, path), start=first.data["continues_at"])
    assert rest.data["text"] == "the end"
    assert "continues_at" not in rest.data


async def test_a_page_that_unpacks_to_a_hundred_megabytes_is_cut_off(
    home: ToolHome, web: WebServer
) -> None:
    bomb()
    tracemalloc.start()
    try:
        envelope = await fetch(home, at(web, "/bomb"))
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert envelope.ok
    assert len(envelope.data["text"]) == MAX_TEXT_CHARACTERS
    assert most < 10_000_000


@pytest.mark.parametrize(
    ("body", "kind", "encoding", "expected"),
    [
        pytest.param(b"\x89PNG", "image/png", "", "unsupported_media_type", id="a picture"),
        pytest.param(b"MZ", "", "", "unsupported_media_type", id="no type at all"),
        pytest.param(b"x", "text/plain", "br", "bad_answer", id="brotli"),
        pytest.param(b"no gzip", "text/plain", "gzip", "bad_answer", id="no gzip"),
        pytest.param(b"{}", "application/problem+json", "", "ok", id="any JSON"),
        pytest.param(gzip.compress(b"hello"), "text/plain", "gzip", "ok", id="gzip"),
    ],
)
async def test_what_comes_back(  # noqa: PLR0917 (one row of the table)
    home: ToolHome, web: WebServer, body: bytes, kind: str, encoding: str, expected: str
) -> None:
    named = {"content-encoding": encoding} if encoding else {}
    web.pages["a"] = (200, {"content-type": kind, **named}, body)
    envelope = await fetch(home, at(web, "/pages/a"))
    assert code(envelope) == expected


@pytest.mark.parametrize(
    ("status", "calls"), [pytest.param(404, 1, id="gone"), pytest.param(503, 3, id="busy")]
)
async def test_a_page_that_is_not_there_is_said_and_one_that_is_busy_tried_again(
    home: ToolHome, web: WebServer, status: int, calls: int
) -> None:
    envelope = await fetch(home, at(web, web.put("a", b"", status=status)))
    assert code(envelope) == "http_error"
    assert str(status) in str(envelope)
    assert len(web.requests) == calls


async def test_a_host_that_fails_is_left_alone_and_costs_no_other(
    home: ToolHome, web: WebServer
) -> None:
    busy, path = web.put("busy", b"", status=503), web.put("a", b"here")
    assert code(await fetch(home, at(web, busy))) == "http_error"
    assert code(await fetch(home, at(web, busy))) == "source_down"
    assert code(await fetch(home, at(web, path))) == "source_down"
    assert home.heard.data("tool.circuit_open") == [{"source": "web:news.example"}]
    assert code(await fetch(home, at(web, path, "other.example"))) == "ok"


async def test_a_page_that_never_comes_ends_in_time(home: ToolHome, web: WebServer) -> None:
    home.configure(webFetch={"enabled": True, "timeoutSeconds": 1})
    assert code(await fetch(home, at(web, "/hang"))) == "timeout"


async def test_a_host_without_an_address_is_said(home: ToolHome, web: WebServer) -> None:
    envelope = await fetch(home, at(web, "/", "nowhere.example"))
    assert code(envelope) == "unreachable"


async def test_no_proxy_of_the_environment_stands_between(
    home: ToolHome, web: WebServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever resolves names for us would judge addresses for us."""
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    assert code(await fetch(home, at(web, web.put("a", b"x")))) == "ok"


async def test_what_is_sent_says_nothing_of_who_asks(home: ToolHome, web: WebServer) -> None:
    await fetch(home, at(web, web.put("a", b"x")))
    (_, _, headers) = web.requests[0]
    assert set(headers) == {"host", "accept", "accept-encoding", "user-agent"}


async def test_the_tool_is_there_only_where_it_is_enabled(home: ToolHome) -> None:
    home.configure()
    assert home.registry.get("web_fetch") is None
    assert code(await fetch(home, "https://news.example/")) == "unknown_tool"
