from collections.abc import Iterator

import pytest

from tests.support import stub_provider
from tests.support.stub_provider import StubProvider


@pytest.fixture(scope="module")
def provider() -> Iterator[StubProvider]:
    with stub_provider.running() as stub:
        yield stub
