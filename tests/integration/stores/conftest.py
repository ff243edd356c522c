from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests.support.postgres import Postgres, shared_postgres
from tests.support.redis_server import Redis
from tests.support.shared_homes import SharedHome


@pytest.fixture
async def postgres() -> Postgres:
    """The PostgreSQL of this test process, to which a test does nothing."""
    return await shared_postgres()


@pytest.fixture
async def own_postgres() -> AsyncIterator[Postgres]:
    """A PostgreSQL that a test may stop; what it acknowledged is on disk."""
    postgres = Postgres(durable=True)
    await postgres.migrate()
    yield postgres
    postgres.close()


@pytest.fixture
def own_redis() -> Iterator[Redis]:
    """A Redis that a test may stop."""
    redis = Redis()
    yield redis
    redis.close()


@pytest.fixture
async def home(postgres: Postgres, tmp_path: Path) -> AsyncIterator[SharedHome]:
    """Organizations on PostgreSQL alone."""
    home = SharedHome(tmp_path, postgres)
    yield home
    await home.close()


@pytest.fixture
async def cached(postgres: Postgres, own_redis: Redis, tmp_path: Path) -> AsyncIterator[SharedHome]:
    """Organizations on PostgreSQL with a Redis that the test may stop."""
    home = SharedHome(tmp_path, postgres, own_redis)
    yield home
    await home.close()
