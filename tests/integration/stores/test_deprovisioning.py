"""Removing an organization from the shared store, as platform teams do it."""

import asyncio
import subprocess
from pathlib import Path

import psycopg
import pytest
from psycopg import AsyncConnection

from bulkhead_runtime.events.port import Event
from bulkhead_runtime.store.postgres import deprovisioning
from bulkhead_runtime.store.records import StoredKey
from tests.support.postgres import Postgres
from tests.support.shared_homes import SharedHome
from tests.support.store_commands import command
from tests.support.store_work import BOUNDS, begin, finish, line, said, say, started

MANY = deprovisioning.ROWS_AT_ONCE + 5


async def _filled(home: SharedHome, organization: str) -> str:
    """Make an organization with something in every kind of table; return its name."""
    store = await home.open(organization)
    await say(store, "hello", new=True)
    await store.put_key(StoredKey("ci", "d" * 64, "me", ("*",), 1, None))
    await store.append_events(tuple(Event(f"evt_{n}", "turn.start", n) for n in range(10)))
    asked = begin()
    await started(store, asked)
    await store.finish(finish(asked, lines=tuple(line(at=1) for _ in range(3))), BOUNDS)
    assert await store.trim_ledger(before=2, limit=2) == 2
    return home.name(organization)


def _deprovision(
    postgres: Postgres, name: str, *arguments: str
) -> subprocess.CompletedProcess[str]:
    owner = {"BULKHEAD_POSTGRES_OWNER_DSN": postgres.owner_dsn}
    return command("deprovision", "--organization", name, *arguments, environment=owner)


def _rows(postgres: Postgres, name: str) -> dict[str, object]:
    """Count an organization's rows in every table, its mapping among them."""
    tables = postgres.administer(
        "SELECT table_name FROM information_schema.columns "
        "WHERE table_schema = 'bulkhead' AND column_name = 'organization'"
    )
    counted = {
        str(table): postgres.administer(
            f"SELECT count(*) FROM bulkhead.{table} WHERE organization = '{name}'"
        )[0][0]
        for (table,) in tables
    }
    return {table: count for table, count in counted.items() if count}


async def test_everything_of_an_organization_goes_and_nothing_of_another(
    postgres: Postgres, tmp_path: Path
) -> None:
    leaving, staying = SharedHome(tmp_path / "a", postgres), SharedHome(tmp_path / "b", postgres)
    name, other = await _filled(leaving, "acme"), await _filled(staying, "globex")
    postgres.administer(
        "INSERT INTO bulkhead.messages (organization, session_id, sequence, turn, role, content, "
        f"tokens, created_at) SELECT '{name}', 'ses_many', n, 1, 'user', 'x', 1, 1 "
        f"FROM generate_series(1, {MANY}) AS n"
    )
    await leaving.close()
    before = _rows(postgres, other)
    assert {"sessions", "messages", "ledger", "usage_days", "events", "keys"} <= before.keys()

    done = await asyncio.to_thread(_deprovision, postgres, name, "--confirm", name)

    assert done.returncode == 0, done.stderr
    assert f"removed {MANY + 2} rows of messages" in done.stdout
    assert f"nothing of organization {name} is left" in done.stdout
    assert _rows(postgres, name) == {}
    assert _rows(postgres, other) == before
    assert postgres.administer(f"SELECT 1 FROM pg_roles WHERE rolname = 'bulkhead_{name}'") == []
    assert (
        postgres.administer("SELECT 1 FROM bulkhead.tenants WHERE role NOT LIKE 'bulkhead\\_%'")
        == []
    ), "the owner sees no organization's rows any more"
    store = await staying.open("globex")
    assert await said(store) == ["hello", "re: hello"]
    await say(store, "still here")
    await staying.close()
    again = await asyncio.to_thread(_deprovision, postgres, name, "--confirm", name)
    assert again.returncode == 2
    assert "there is nothing of organization" in again.stderr


@pytest.mark.parametrize(
    "arguments",
    [(), ("--confirm", "globex"), ("--confirm", "")],
    ids=["without its name", "with another name", "with nothing"],
)
async def test_nothing_is_removed_unless_it_is_confirmed(
    postgres: Postgres, home: SharedHome, arguments: tuple[str, ...]
) -> None:
    name = await _filled(home, "acme")
    before = _rows(postgres, name)
    done = await asyncio.to_thread(_deprovision, postgres, name, *arguments)
    assert done.returncode == 2
    assert f"say so with --confirm {name}" in done.stderr
    assert _rows(postgres, name) == before


async def test_an_organization_whose_runtime_is_connected_is_refused_and_goes_on(
    postgres: Postgres, home: SharedHome
) -> None:
    name = await _filled(home, "acme")
    dsn = await home.mounted(name)
    before = _rows(postgres, name)
    role_dsn = next(dsn.rglob("dsn")).read_text()
    async with await AsyncConnection.connect(role_dsn):
        done = await asyncio.to_thread(_deprovision, postgres, name, "--confirm", name)
    assert done.returncode == 2
    assert "delete the OrganizationRuntime first" in done.stderr
    assert _rows(postgres, name) == before
    with psycopg.connect(role_dsn) as connection:
        assert connection.execute("SELECT bulkhead.organization()").fetchone() == (name,)


async def test_what_an_interrupted_run_left_the_next_one_removes(
    postgres: Postgres, tmp_path: Path
) -> None:
    home = SharedHome(tmp_path, postgres)
    name = await _filled(home, "acme")
    await home.close()
    postgres.administer(f'ALTER ROLE "bulkhead_{name}" NOLOGIN')
    postgres.administer(f"DELETE FROM bulkhead.messages WHERE organization = '{name}'")
    done = await asyncio.to_thread(_deprovision, postgres, name, "--confirm", name)
    assert done.returncode == 0, done.stderr
    assert _rows(postgres, name) == {}


async def test_a_name_can_be_taken_again_and_begins_empty(
    postgres: Postgres, tmp_path: Path
) -> None:
    home = SharedHome(tmp_path / "a", postgres)
    name = await _filled(home, "acme")
    await home.close()
    await asyncio.to_thread(_deprovision, postgres, name, "--confirm", name)
    dsn = await postgres.add_organization(name)
    with psycopg.connect(dsn) as connection:
        assert connection.execute("SELECT count(*) FROM bulkhead.sessions").fetchone() == (0,)
