"""A query parameter that a path does not know is refused, whatever path of ours it is."""

import re
from collections.abc import Iterator
from typing import Any

import pytest

from bulkhead_runtime.api.problems import OPENAI_PATHS
from bulkhead_runtime.api.rest.app import create_app
from tests.support.runtime_process import RuntimeFiles, RuntimeProcess, client, document

SCRAPED_OR_PROBED = ("/metrics", "/health", "/readiness")
"""Who scrapes and probes may add what it likes."""

described = create_app(None, None).openapi()["paths"]  # type: ignore[arg-type]  # no route is called
OPERATIONS = [
    (method, path)
    for path, operations in described.items()
    for method in operations
    if method in {"get", "delete"} and path not in SCRAPED_OR_PROBED
]
OURS = [one for one in OPERATIONS if not one[1].startswith(OPENAI_PATHS)]
OF_OPENAI = [one for one in OPERATIONS if one not in OURS]


@pytest.fixture(scope="module")
def runtime(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RuntimeProcess]:
    files = RuntimeFiles(tmp_path_factory.mktemp("runtime"))
    files.follow((document(), 100))
    with RuntimeProcess(files) as process:
        yield process


async def _ask(runtime: RuntimeProcess, method: str, path: str, query: str) -> tuple[int, Any]:
    url = re.sub(r"\{[^}]+\}", "x", path) + query
    async with client(runtime) as http, http.request(method, url) as response:
        return response.status, await response.json(content_type=None)


@pytest.mark.parametrize(("method", "path"), OURS, ids=map(" ".join, OURS))
async def test_what_the_path_does_not_know_is_refused_by(
    runtime: RuntimeProcess, method: str, path: str
) -> None:
    status, problem = await _ask(runtime, method, path, "?misspelt=1")
    assert (status, problem["code"], problem["field"]) == (422, "invalid_query", "misspelt")
    assert "422" in described[path][method]["responses"]
    known = [one["name"] for one in described[path][method].get("parameters", ())
             if one["in"] == "query"]  # fmt: skip
    for name in known or ["takes none"]:
        assert name in problem["detail"]


@pytest.mark.parametrize(("method", "path"), OF_OPENAI, ids=map(" ".join, OF_OPENAI))
async def test_what_clients_of_openai_add_is_no_error_of(
    runtime: RuntimeProcess, method: str, path: str
) -> None:
    status, _ = await _ask(runtime, method, path, "?client_version=1")
    assert status in {200, 404}


async def test_a_misspelt_name_is_told_in_a_bounded_message(runtime: RuntimeProcess) -> None:
    status, problem = await _ask(runtime, "get", "/v1/usage", "?" + "n" * 4000)
    assert (status, problem["field"]) == (422, "n" * 64)
    assert len(problem["detail"]) < 300
    status, problem = await _ask(runtime, "get", "/v1/usage", "?" + "&".join(["by=day"] * 65))
    assert (status, problem["detail"]) == (422, "`query` has more than 64 parameters.")
