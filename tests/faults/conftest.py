"""Fault tests: one case of each class by default, every case with `--every-fault`."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests.support import stub_provider
from tests.support.fault_table import FaultTable
from tests.support.postgres import Postgres
from tests.support.redis_server import Redis
from tests.support.runtime.forking import Forks
from tests.support.runtime.places import Place, shared
from tests.support.stub_provider import StubProvider

_TABLE = pytest.StashKey[FaultTable]()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--every-fault",
        action="store_true",
        help="visit every enumerated fault point instead of one of each class",
    )


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    table = config.stash.get(_TABLE, None)
    if table is not None and table.rows:
        terminalreporter.section("faults")
        terminalreporter.line(table.text())


@pytest.fixture(scope="session")
def faults(request: pytest.FixtureRequest) -> FaultTable:
    """The table that is shown after all tests."""
    table = FaultTable(every=bool(request.config.getoption("--every-fault")))
    request.config.stash[_TABLE] = table
    return table


@pytest.fixture(scope="module")
def provider() -> Iterator[StubProvider]:
    with stub_provider.running() as stub:
        yield stub


@pytest.fixture(scope="module")
def forks() -> Iterator[Forks]:
    with Forks() as started:
        yield started


@pytest.fixture
async def postgres() -> AsyncIterator[Postgres]:
    """A PostgreSQL that a test may stop; what it acknowledged is on disk."""
    server = Postgres(durable=True)
    await server.migrate()
    yield server
    server.close()


@pytest.fixture
def redis() -> Iterator[Redis]:
    """A Redis that a test may stop."""
    server = Redis()
    yield server
    server.close()


@pytest.fixture
async def shared_place(tmp_path: Path, postgres: Postgres, redis: Redis) -> Place:
    """An organization on both."""
    return await shared(tmp_path, postgres, redis)
