"""How a running runtime serves the files of the tenant's page; tests/ui proves what they do."""

import gzip
import re
from collections.abc import Iterator
from pathlib import Path

import aiohttp
import pytest
from yarl import URL

from tests.support.deadline import until
from tests.support.runtime_process import RuntimeFiles, RuntimeProcess, client, document

FILES = ("/ui", "/ui/app.js", "/ui/base.css", "/ui/icon.svg", "/ui/theme.js", "/ui/views/chat.js")


@pytest.fixture(scope="module")
def runtime(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RuntimeProcess]:
    files = RuntimeFiles(tmp_path_factory.mktemp("runtime"))
    files.follow((document(), 100))
    with RuntimeProcess(files) as process:
        yield process


def _stranger(runtime: RuntimeProcess) -> aiohttp.ClientSession:
    return client(runtime, key=None, auto_decompress=False, skip_auto_headers=("Accept-Encoding",))


@pytest.mark.parametrize("path", FILES)
async def test_a_file_needs_no_key_and_forbids_what_would_let_text_act_as_code(
    runtime: RuntimeProcess, path: str
) -> None:
    async with _stranger(runtime) as http, http.get(path) as response:
        policy = {
            name: values
            for name, *values in (
                part.split() for part in response.headers["content-security-policy"].split(";")
            )
        }
        assert response.status == 200
        assert policy["default-src"] == ["'none'"]
        assert policy["script-src"] == policy["style-src"] == policy["connect-src"] == ["'self'"]
        assert (
            policy["frame-ancestors"] == policy["base-uri"] == policy["form-action"] == ["'none'"]
        )
        assert policy["img-src"] == ["'self'"]
        assert policy["require-trusted-types-for"] == ["'script'"]
        assert policy["trusted-types"] == ["'none'"]
        assert response.headers["x-content-type-options"] == "nosniff"
        assert response.headers["referrer-policy"] == "no-referrer"
        assert response.headers["cross-origin-opener-policy"] == "same-origin"
        assert response.headers["cross-origin-resource-policy"] == "same-origin"
        assert "set-cookie" not in response.headers


@pytest.mark.parametrize("path", ["/docs", "/redoc"])
async def test_no_page_of_others_runs_where_tenants_type_their_keys(
    runtime: RuntimeProcess, path: str
) -> None:
    async with client(runtime) as http, http.get(path) as response:
        assert response.status == 404


async def test_every_file_that_the_page_names_is_there_and_of_its_type(
    runtime: RuntimeProcess,
) -> None:
    types = {"css": "text/css", "js": "text/javascript", "svg": "image/svg+xml"}
    async with _stranger(runtime) as http:
        async with http.get("/ui") as page:
            named = set(re.findall(r'(?:href|src)="(ui/[^"]+)"', await page.text()))
        assert named
        for path in named:
            async with http.get(f"/{path}") as response:
                assert (path, response.status) == (path, 200)
                assert response.content_type == types[path.rpartition(".")[2]]


async def test_a_client_that_has_a_file_gets_304_and_no_body(runtime: RuntimeProcess) -> None:
    async with _stranger(runtime) as http:
        async with http.get("/ui/app.js") as first:
            tag = first.headers["etag"]
        async with http.get("/ui/app.js", headers={"If-None-Match": f'"x", W/{tag}'}) as second:
            assert second.status == 304
            assert await second.read() == b""
            assert second.headers["etag"] == tag
            assert second.headers["cache-control"] == "no-cache"
        async with http.get("/ui/base.css", headers={"If-None-Match": tag}) as other:
            assert other.status == 200


async def test_a_file_is_packed_for_those_who_take_it_so(runtime: RuntimeProcess) -> None:
    async with _stranger(runtime) as http:
        async with http.get("/ui/app.js") as plain:
            content = await plain.read()
            assert "content-encoding" not in plain.headers
        packed_header = {"Accept-Encoding": "br, GZIP ;q=1.0"}
        async with http.get("/ui/app.js", headers=packed_header) as packed:
            assert packed.headers["content-encoding"] == "gzip"
            assert packed.headers["etag"] != plain.headers["etag"]
            assert packed.headers["vary"] == "accept-encoding"
            body = await packed.read()
        async with http.get("/ui/app.js", headers={"Accept-Encoding": "gzip;q=0"}) as refused:
            assert "content-encoding" not in refused.headers
    assert gzip.decompress(body) == content
    assert len(body) < len(content) / 2


async def test_a_slash_behind_the_page_leads_to_the_page(runtime: RuntimeProcess) -> None:
    async with (
        _stranger(runtime) as http,
        http.get("/ui/", allow_redirects=False) as response,
        http.get("/ui/") as followed,
    ):
        assert (response.status, response.headers["location"]) == (308, "../ui")
        assert (followed.status, followed.url.path) == (200, "/ui")


@pytest.mark.parametrize(
    "path",
    ["/ui/index.html", "/ui/nothing.js", "/ui/../settings.py", "/ui/%2e%2e/settings.py", "/ui//ui"],
)
async def test_what_is_no_file_of_the_page_is_not_found(runtime: RuntimeProcess, path: str) -> None:
    async with _stranger(runtime) as http, http.get(URL(path, encoded=True)) as response:
        body = await response.json(content_type=None)
    assert (response.status, body["code"]) in {(404, "unknown_path"), (401, "unauthorized")}


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS"])
async def test_the_page_is_only_read(runtime: RuntimeProcess, method: str) -> None:
    async with _stranger(runtime) as http, http.request(method, "/ui") as response:
        assert (response.status, response.headers["allow"]) == (405, "GET, HEAD")


async def test_head_tells_of_a_file_without_sending_it(runtime: RuntimeProcess) -> None:
    async with _stranger(runtime) as http, http.head("/ui/app.js") as response:
        assert response.status == 200
        assert int(response.headers["content-length"]) > 0
        assert await response.read() == b""


async def test_a_page_that_is_switched_off_is_not_found_and_comes_back_without_a_restart(
    tmp_path: Path,
) -> None:
    files = RuntimeFiles(tmp_path)
    files.follow((document(), 100), page="Disabled")
    with RuntimeProcess(files) as runtime:
        async with _stranger(runtime) as http:
            for path in ("/ui", "/ui/", "/ui/app.js"):
                async with http.get(path) as response:
                    assert (path, response.status) == (path, 404)
            files.follow((document(), 100), page="Enabled")

            async def served() -> bool:
                async with http.get("/ui") as response:
                    return response.status == 200

            await until(served, "the page is served")


async def test_a_path_that_only_begins_like_the_page_needs_a_key(runtime: RuntimeProcess) -> None:
    async with _stranger(runtime) as http, http.get("/uix") as response:
        assert response.status == 401
