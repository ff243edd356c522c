from collections.abc import Iterator
from pathlib import Path

import pytest

from bulkhead_api.runtime_config import ProviderConfig
from bulkhead_api.v1alpha1.models import CircuitBreaker
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


@pytest.fixture(scope="module")
def stubbed(provider: StubProvider) -> ProviderConfig:
    """The stub's provider, which is never left alone however often it fails."""
    return ProviderConfig(
        name="stub",
        type="OpenAICompatible",
        base_url=provider.base_url,
        circuit_breaker=CircuitBreaker(failures=1000),
        max_retries=0,
    )
