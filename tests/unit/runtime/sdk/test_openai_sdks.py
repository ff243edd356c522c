"""OpenAI's own Python clients, both majors, unmodified, against a running runtime."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from bulkhead_api.runtime_config import ProviderConfig
from tests.cluster import places
from tests.support import stub_provider
from tests.support.runtime_process import KEY, RuntimeFiles, RuntimeProcess, document
from tests.unit.runtime.sdk.openai_client import CONVERSATIONS

HERE = Path(__file__).resolve().parent
MAJORS = ("2", "3")
NAMES = [conversation.__name__ for conversation in CONVERSATIONS]


@pytest.fixture(scope="module")
def runtime(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RuntimeProcess]:
    with stub_provider.running() as provider:
        files = RuntimeFiles(tmp_path_factory.mktemp("runtime"))
        files.providers.switch({"stub": b"sk-stub"})
        config = ProviderConfig(
            name="stub",
            type="OpenAICompatible",
            base_url=provider.base_url,
            has_credentials=True,
            max_retries=0,
        )
        files.follow((document(), 100), providers=(config,))
        with RuntimeProcess(files) as process:
            yield process


@pytest.fixture(scope="module")
def reports(runtime: RuntimeProcess) -> Any:
    """Runs every conversation with the client of one major, once."""

    @cache
    def report(major: str) -> dict[str, Any]:
        run = subprocess.run(
            [
                *(_uv(), "run", "--quiet", "--no-project", "--python", sys.executable),
                *("--with-requirements", HERE / f"openai-{major}.txt"),
                *("python", HERE / "openai_client.py"),
            ],
            env={
                **os.environ,
                "OPENAI_BASE_URL": f"{runtime.url}/v1",
                "OPENAI_API_KEY": KEY,
                "PYTHONPATH": "",
            },
            capture_output=True,
            check=False,
            timeout=600,
        )
        assert run.returncode == 0, run.stderr.decode()
        decoded: dict[str, Any] = json.loads(run.stdout)
        assert decoded["version"].split(".")[0] == major
        outcomes: dict[str, Any] = decoded["outcomes"]
        return outcomes

    return report


def _uv() -> Path:
    found = sorted(places.cache().glob("uv-*/bin/uv"))
    assert found, "uv is missing: run `make check` once, which gets it"
    return found[-1]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("major", MAJORS)
def test_openai_client_of_major(reports: Any, major: str, name: str) -> None:
    assert reports(major)[name] == ""
