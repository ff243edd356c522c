from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import stub_provider
from tests.support.runtime_process import RuntimeFiles
from tests.support.stub_provider import StubProvider


@pytest.fixture
def files(tmp_path: Path) -> RuntimeFiles:
    return RuntimeFiles(tmp_path)


@pytest.fixture(scope="module")
def provider() -> Iterator[StubProvider]:
    with stub_provider.running() as stub:
        yield stub
