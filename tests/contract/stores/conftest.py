"""One suite for every store: each test runs over each place that a store can live in."""

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import pytest

from bulkhead_runtime.store.of_record import StoreOfRecord
from tests.support.shared_homes import postgres_home, redis_home
from tests.support.store_homes import StoreHome, sqlite_home

HOMES: Mapping[str, Callable[[Path], AbstractAsyncContextManager[StoreHome]]] = {
    "sqlite": sqlite_home,
    "postgres": postgres_home,
    "postgres+redis": redis_home,
}


@pytest.fixture(params=HOMES)
async def home(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[StoreHome]:
    async with HOMES[request.param](tmp_path) as opened:
        yield opened


@pytest.fixture
async def store(home: StoreHome) -> StoreOfRecord:
    return await home.open()
