from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import stub_provider
from tests.support.runtime_process import RuntimeFiles, RuntimeProcess, agent, document
from tests.support.stub_provider import StubProvider


@pytest.fixture
def files(tmp_path: Path) -> RuntimeFiles:
    return RuntimeFiles(tmp_path)


@pytest.fixture
def runtime(files: RuntimeFiles) -> Iterator[RuntimeProcess]:
    """A runtime with the plain assistant and one that has both tools."""
    tooled = agent("tooled", tools=["calculate", "current_time"])
    files.follow((document("1.0.0", agent(), tooled), 100))
    with RuntimeProcess(files) as process:
        yield process


@pytest.fixture(scope="module")
def provider() -> Iterator[StubProvider]:
    with stub_provider.running() as stub:
        yield stub
