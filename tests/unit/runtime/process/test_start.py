import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.runtime_process import (
    REPOSITORY,
    RuntimeFiles,
    RuntimeProcess,
    client,
    document,
)

HEAVY = ("fastapi", "litellm", "aiohttp", "rich", "jsonschema", "openai", "structlog")


def test_the_serving_process_starts_without_what_only_some_requests_need() -> None:
    code = (
        "import sys; import bulkhead_runtime.__main__; "
        f"print([name for name in {HEAVY!r} if name in sys.modules])"
    )
    path = f"{REPOSITORY / 'crds'}:{REPOSITORY / 'runtime_image'}"
    result = subprocess.run(
        [sys.executable, "-c", code],
        env={"PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=True,
    )
    assert result.stdout.strip() == "[]"


async def test_answering_does_not_import_a_web_framework_or_litellm(files: RuntimeFiles) -> None:
    files.follow((document(), 100))
    with RuntimeProcess(files) as runtime:
        async with client(runtime) as http:
            for path in ("/v1/agents/assistant/execute", "/v1/agents/assistant/execute/stream"):
                async with http.post(path, json={"message": "x"}) as response:
                    assert response.status == 200
                    await response.read()
        mapped = _mapped_files(runtime)
    assert "uvloop" in mapped
    assert "aiohttp" not in mapped
    assert "litellm" not in mapped


def _mapped_files(runtime: RuntimeProcess) -> str:
    return Path(f"/proc/{runtime.process.pid}/maps").read_text()


WRONG = {
    "no organization": ({"BULKHEAD_ORGANIZATION": ""}, "BULKHEAD_ORGANIZATION must be set"),
    "a port that is none": (
        {"BULKHEAD_PUBLIC_PORT": "http"},
        "BULKHEAD_PUBLIC_PORT must be a port",
    ),
    "an endless drain": ({"BULKHEAD_DRAIN_SECONDS": "inf"}, "BULKHEAD_DRAIN_SECONDS must be"),
    "a relative folder": ({"BULKHEAD_DATA_DIRECTORY": "data"}, "must be an absolute path"),
    "a log level that nobody knows": ({"BULKHEAD_LOG_LEVEL": "loud"}, "must be DEBUG, INFO"),
}


@pytest.mark.parametrize(("variables", "words"), WRONG.values(), ids=WRONG.keys())
def test_the_process_says_what_is_wrong_with(
    files: RuntimeFiles, variables: dict[str, str], words: str
) -> None:
    runtime = RuntimeProcess(files, environment=variables)
    assert runtime.process.wait(60) == 2
    assert words in runtime.log_path.read_text()


def test_a_container_that_is_stopped_while_it_starts_ends_at_once() -> None:
    """As the first process of its namespace, which no signal without a handler reaches."""
    code = (
        "import builtins, runpy, time; found = builtins.__import__\n"
        "def slow(name, *rest, **named):\n"
        "    if name == 'uvloop': print('importing', flush=True); time.sleep(60)\n"
        "    return found(name, *rest, **named)\n"
        "builtins.__import__ = slow\n"
        "runpy.run_module('bulkhead_runtime', run_name='__main__')"
    )
    path = f"{REPOSITORY / 'crds'}:{REPOSITORY / 'runtime_image'}"
    process = subprocess.Popen(
        ["unshare", "--pid", "--fork", "--kill-child", sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": path},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "importing\n"
    (first,) = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    os.kill(int(first), signal.SIGTERM)
    assert process.wait(30) == 128 + signal.SIGTERM
