"""Tools that packages declare: where arguments and credentials get to, and where they never do."""

import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from yarl import URL

from bulkhead_api.v1alpha1.agent_package import HttpTool
from bulkhead_api.v1alpha1.tools import Tools
from bulkhead_runtime.tools.errors import ToolError
from bulkhead_runtime.tools.http_tool import fill_path
from bulkhead_runtime.tools.port import ToolEnvelope
from tests.support.tool_homes import PACKAGE, ToolHome, tool_context, tool_home
from tests.support.web_server import Names, WebServer, web_server

KEY = "sk-very-secret"


@pytest.fixture
def web() -> Iterator[WebServer]:
    with web_server() as server:
        yield server


@pytest.fixture
async def home(tmp_path: Path, web: WebServer) -> AsyncIterator[ToolHome]:
    names = Names(crm_svc=[web.address], api_example=[web.address], other_svc=[web.address])
    home = tool_home(tmp_path, private=lambda address: address == web.address, resolver=names)
    credentials = tmp_path / "secrets" / "tools"
    credentials.mkdir(parents=True)
    (credentials / "crm-key").write_text(KEY + "\n")
    yield home
    await home.registry.aclose()


def declare(home: ToolHome, web: WebServer, path: str = "/echo", **fields: Any) -> None:
    """Declare the tool `order` at the private host crm.svc, which may get the credential."""
    host = fields.pop("host", "crm.svc")
    url = f"http://{host}:{web.port}{path}"
    declared = {"name": "order", "description": "Does it.", "url": url, **fields}
    secret = {"name": "crm-secret", "key": "token"}
    home.configure(
        HttpTool.model_validate(declared),
        privateHosts=["crm.svc", "other.svc"],
        credentials=[{"name": "crm-key", "secretRef": secret, "hosts": ["crm.svc"]}],
    )


async def call(home: ToolHome, name: str = "order", **arguments: Any) -> ToolEnvelope:
    return await home.registry.run(name, arguments, tool_context(package=True))


def code(envelope: ToolEnvelope) -> str:
    return envelope.error.code if envelope.error else "ok"


async def test_arguments_of_a_get_fill_the_path_and_then_the_query(
    home: ToolHome, web: WebServer
) -> None:
    declare(home, web, "/echo/orders/{id}/lines")
    envelope = await call(home, id="a b/ü"[:3], tags=["x&y", "z"], full=True, depth=2, note=None)
    assert envelope.data["body"]["path"] == "/echo/orders/a%20b/lines"
    assert envelope.data["body"]["query"] == "tags=x%26y&tags=z&full=true&depth=2"
    assert envelope.untrusted


async def test_arguments_of_a_post_fill_the_path_and_then_the_body(
    home: ToolHome, web: WebServer
) -> None:
    declare(home, web, "/echo/{id}", method="POST")
    envelope = await call(home, id=7, lines=[{"sku": "a", "n": 1}])
    told = envelope.data["body"]
    assert (told["method"], told["path"], told["query"]) == ("POST", "/echo/7", "")
    assert told["body"] == {"lines": [{"sku": "a", "n": 1}]}
    assert told["headers"]["content-type"] == "application/json"


@pytest.mark.parametrize(
    "value",
    ["..", ".", "", "a/b", "a\\b", "../..", "a\r\nHost: evil", "\x00", None],
    ids=[
        "two dots",
        "a dot",
        "nothing",
        "a slash",
        "a backslash",
        "upwards",
        "lines",
        "zero",
        "null",
    ],
)
async def test_an_argument_cannot_leave_its_place_in_the_path(
    home: ToolHome, web: WebServer, value: Any
) -> None:
    declare(home, web, "/echo/orders/{id}/lines")
    assert code(await call(home, id=value)) == "invalid_arguments"
    assert web.requests == []


@pytest.mark.parametrize(
    ("value", "segment"),
    [
        pytest.param("7?admin=1", "7%3Fadmin%3D1", id="a query"),
        pytest.param("7#rest", "7%23rest", id="a fragment"),
        pytest.param("..%2f7", "..%252f7", id="a slash that is escaped already"),
        pytest.param("7;v=1", "7%3Bv%3D1", id="a parameter"),
        pytest.param("{id}", "%7Bid%7D", id="another placeholder"),
    ],
)
async def test_whatever_an_argument_holds_is_one_segment(
    home: ToolHome, web: WebServer, value: str, segment: str
) -> None:
    declare(home, web, "/echo/orders/{id}/lines")
    told = (await call(home, id=value)).data["body"]
    assert (told["path"], told["query"]) == (f"/echo/orders/{segment}/lines", "")


@settings(max_examples=300, suppress_health_check=[HealthCheck.too_slow])
@given(first=st.text(max_size=8), second=st.one_of(st.text(max_size=8), st.integers()))
def test_whatever_the_arguments_are_the_path_keeps_its_shape(first: str, second: str | int) -> None:
    try:
        path, rest = fill_path("/v1/{a}{b}/end", {"a": first, "b": second, "c": 1})
    except ToolError:
        return
    url = URL("https://api.example").with_path(path, encoded=True)
    assert rest == {"c": 1}
    assert url.host == "api.example"
    assert not url.raw_query_string
    assert not url.raw_fragment
    before, middle, end = url.raw_path.split("/")[1:]
    assert (before, end) == ("v1", "end")
    assert url.parts[2] == f"{first}{second}"
    assert middle not in {"", ".", ".."}


async def test_a_credential_reaches_the_host_that_the_platform_names(
    home: ToolHome, web: WebServer
) -> None:
    declare(home, web, credential="crm-key")
    await call(home)
    declare(home, web, credential="crm-key", headerName="X-Api-Key")
    await call(home)
    first, second = (headers for _, _, headers in web.requests)
    assert first["authorization"] == f"Bearer {KEY}"
    assert second["x-api-key"] == KEY


@pytest.mark.parametrize("status", [200, 401])
@pytest.mark.parametrize("key", [KEY, 'sk-"quoted"'])
async def test_a_service_that_repeats_the_credential_tells_it_to_nobody(
    home: ToolHome, web: WebServer, tmp_path: Path, key: str, status: int
) -> None:
    (tmp_path / "secrets" / "tools" / "crm-key").write_text(key)
    said = json.dumps({"error": f"key {key} is no good", "again": key}).encode()
    declare(home, web, web.put("a", said, "application/json", status=status), credential="crm-key")
    told = (await call(home)).for_model()
    assert "key [credential] is no good" in told
    assert key not in told
    assert json.dumps(key)[1:-1] not in told


async def test_a_rotated_credential_is_used_at_once(
    home: ToolHome, web: WebServer, tmp_path: Path
) -> None:
    declare(home, web, credential="crm-key")
    await call(home)
    (tmp_path / "secrets" / "tools" / "crm-key").write_text("new")
    await call(home)
    assert web.requests[-1][2]["authorization"] == "Bearer new"


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        pytest.param({"host": "other.svc"}, "credential_refused", id="another host"),
        pytest.param({"host": "api.example"}, "credential_refused", id="a public host unencrypted"),
        pytest.param({"credential": "unknown"}, "credential_refused", id="an unknown credential"),
    ],
)
async def test_a_credential_is_sent_nowhere_else(
    home: ToolHome, web: WebServer, fields: dict[str, Any], expected: str
) -> None:
    declare(home, web, **{"credential": "crm-key", **fields})
    envelope = await call(home)
    assert code(envelope) == expected
    assert KEY not in str(envelope)
    assert web.requests == []


def test_models_are_told_that_arguments_are_an_object(home: ToolHome, web: WebServer) -> None:
    declare(home, web, parameters={"properties": {"a": {}}})
    tool = home.registry.get("order", *PACKAGE)
    assert tool is not None
    assert tool.parameters == {"type": "object", "properties": {"a": {}}}


async def test_a_credential_that_is_not_mounted_is_said(
    home: ToolHome, web: WebServer, tmp_path: Path
) -> None:
    (tmp_path / "secrets" / "tools" / "crm-key").unlink()
    declare(home, web, credential="crm-key")
    assert code(await call(home)) == "credential_missing"


async def test_a_private_host_that_the_platform_has_not_opened_is_not_called(
    home: ToolHome, web: WebServer
) -> None:
    declare(home, web, host="api.example")
    assert code(await call(home)) == "forbidden_address"
    assert web.requests == []


async def test_a_redirect_is_not_followed(home: ToolHome, web: WebServer) -> None:
    declare(home, web, "/redirect", credential="crm-key")
    envelope = await call(home, to=f"http://other.svc:{web.port}/echo")
    assert code(envelope) == "http_error"
    assert len(web.requests) == 1


@pytest.mark.parametrize(
    ("body", "kind", "status", "expected"),
    [
        pytest.param(b'{"a": 1}', "application/json", 200, {"a": 1}, id="JSON"),
        pytest.param(b"hello", "text/plain", 200, "hello", id="text"),
        pytest.param(b"", "", 204, None, id="nothing"),
        pytest.param(b"{", "application/json", 200, "bad_answer", id="half a JSON text"),
        pytest.param(b"[" + b"1," * 40_000, "application/json", 200, "result_too_large", id="big"),
        pytest.param(b"\x00", "image/png", 200, "unsupported_media_type", id="a picture"),
        pytest.param(b"no such order", "text/plain", 404, "http_error", id="a refusal"),
    ],
)
async def test_what_the_service_answers(  # noqa: PLR0917 (one row of the table)
    home: ToolHome, web: WebServer, body: bytes, kind: str, status: int, expected: Any
) -> None:
    declare(home, web, web.put("a", body, kind, status=status))
    envelope = await call(home)
    if envelope.error:
        assert envelope.error.code == expected
        assert envelope.untrusted
    else:
        assert envelope.data.get("body") == expected


async def test_words_of_a_refusal_reach_the_model_within_a_bound(
    home: ToolHome, web: WebServer
) -> None:
    declare(home, web, web.put("a", b"no such order" + b"!" * 5_000, "text/plain", status=404))
    envelope = await call(home)
    assert envelope.error is not None
    assert "no such order" in envelope.error.message
    assert len(envelope.error.message) < 1_200


@pytest.mark.parametrize(("idempotent", "calls"), [(True, 3), (False, 1)])
async def test_only_what_is_declared_safe_is_tried_again(
    home: ToolHome, web: WebServer, idempotent: bool, calls: int
) -> None:
    declare(home, web, web.put("a", b"", status=503), method="POST", idempotent=idempotent)
    assert code(await call(home)) == "http_error"
    assert len(web.requests) == calls


async def test_a_package_cannot_take_the_name_of_a_tool_of_the_platform(
    home: ToolHome, web: WebServer
) -> None:
    declare(home, web, name="calculate")
    envelope = await call(home, "calculate", expression="1+1")
    assert envelope.data["result"] == "2"
    declare(home, web, name="web_fetch")
    assert code(await call(home, "web_fetch")) == "unknown_tool"


async def test_an_agent_has_the_tools_of_its_own_version_and_of_no_other(
    home: ToolHome, web: WebServer
) -> None:
    declare(home, web)
    assert home.registry.get("order", "assistant", "1.0.0") is not None
    assert home.registry.get("order", "assistant", "2.0.0") is None
    assert home.registry.get("order", "other", "1.0.0") is None
    assert [tool.name for tool in home.registry.of_package("assistant", "1.0.0")] == ["order"]


async def test_without_an_agent_a_tool_is_called_whose_name_one_package_uses(
    home: ToolHome,
) -> None:
    def order(description: str) -> tuple[HttpTool, ...]:
        return (HttpTool(name="order", description=description, url="https://api.example/"),)

    versions = {("a", "1.0.0"): order("old"), ("a", "2.0.0"): order("new")}
    home.registry.configure(Tools(), versions)
    found = home.registry.get("order")
    assert found is not None
    assert found.description == "new"
    assert found in home.registry.list()
    home.registry.configure(Tools(), {**versions, ("b", "1.0.0"): order("another")})
    assert home.registry.get("order") is None
    assert home.registry.get("order", "b", "1.0.0") is not None


@pytest.mark.parametrize("url", ["http://2130706433/", "http://a:1:2/"])
async def test_a_tool_whose_host_is_none_is_left_out_and_costs_no_other(
    home: ToolHome, url: str
) -> None:
    bad = HttpTool(name="bad", description="x", url=url)
    good = HttpTool(name="good", description="x", url="http://crm.svc/")
    home.configure(bad, good)
    assert [tool.name for tool in home.registry.of_package("assistant", "1.0.0")] == ["good"]
