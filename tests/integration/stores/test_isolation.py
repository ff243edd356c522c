"""What a runtime can do whose code somebody has taken over: everything that its role can."""

from collections.abc import AsyncIterator
from pathlib import Path

import psycopg
import pytest
from psycopg import AsyncConnection

from bulkhead_api import names
from bulkhead_runtime.store.postgres.migrations import SchemaError
from bulkhead_runtime.store.postgres.opening import open_store
from tests.support.postgres import Postgres
from tests.support.shared_homes import SharedHome
from tests.support.store_work import say


@pytest.fixture
async def victim(home: SharedHome) -> str:
    """An organization with a conversation, by its name."""
    await say(await home.open("acme"), "secret", new=True)
    return home.name("acme")


@pytest.fixture
async def attacker(home: SharedHome, victim: str) -> AsyncIterator[AsyncConnection]:
    """A connection with the DSN of another organization, which holds rows of its own."""
    await say(await home.open("globex"), "own", new=True)
    dsn = (await home.mounted(home.name("globex"))) / names.POSTGRES_DSN_FILE
    async with await AsyncConnection.connect(dsn.read_text(), autocommit=True) as connection:
        yield connection


def _tables(postgres: Postgres) -> list[str]:
    return [
        str(name)
        for (name,) in postgres.administer(
            "SELECT table_name FROM information_schema.columns "
            "WHERE table_schema = 'bulkhead' AND column_name = 'organization'"
        )
    ]


def test_row_level_security_is_forced_on_every_table(postgres: Postgres) -> None:
    tables = postgres.administer(
        "SELECT relname, relrowsecurity AND relforcerowsecurity FROM pg_class "
        "WHERE relnamespace = 'bulkhead'::regnamespace AND relkind IN ('r', 'p')"
    )
    assert len(tables) >= 12
    assert [name for name, forced in tables if not forced] == []


def test_every_index_of_an_organizations_rows_begins_with_the_organization(
    postgres: Postgres,
) -> None:
    definitions = postgres.administer(
        "SELECT indexname, indexdef FROM pg_indexes WHERE schemaname = 'bulkhead' "
        "AND tablename NOT IN ('tenants', 'migrations')"
    )
    assert len(definitions) > 20
    assert [name for name, text in definitions if "(organization" not in str(text)] == []


async def test_a_role_owns_nothing_and_passes_by_nothing(postgres: Postgres, victim: str) -> None:
    ((unbound, owned),) = postgres.administer(
        "SELECT rolsuper OR rolbypassrls OR rolcreaterole OR rolcreatedb OR rolreplication, "
        "(SELECT count(*) FROM pg_class WHERE relowner = role.oid) "
        f"FROM pg_roles AS role WHERE rolname = 'bulkhead_{victim}'"
    )
    assert (unbound, owned) == (False, 0)


async def test_no_table_shows_another_organizations_rows(
    postgres: Postgres, attacker: AsyncConnection, victim: str
) -> None:
    seen = {}
    for table in _tables(postgres):
        cursor = await attacker.execute(
            f"SELECT count(*) FROM bulkhead.{table} WHERE organization = '{victim}'".encode()
        )
        seen[table] = await cursor.fetchone()
    assert len(seen) >= 11
    assert set(seen.values()) == {(0,)}
    cursor = await attacker.execute("SELECT content FROM bulkhead.messages")
    assert {text for (text,) in await cursor.fetchall()} == {"own", "re: own"}


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE bulkhead.sessions SET principal = 'me' WHERE organization = %(victim)s",
        "DELETE FROM bulkhead.messages WHERE organization = %(victim)s",
        "UPDATE bulkhead.accounts SET updated_at = 0 WHERE organization = %(victim)s",
        "DELETE FROM bulkhead.keys WHERE organization = %(victim)s",
    ],
)
async def test_another_organizations_rows_cannot_be_changed(
    attacker: AsyncConnection, victim: str, statement: str
) -> None:
    cursor = await attacker.execute(statement.encode(), {"victim": victim})
    assert cursor.rowcount == 0


async def test_no_role_takes_young_lines_out_of_its_ledger(
    postgres: Postgres, home: SharedHome, victim: str, attacker: AsyncConnection
) -> None:
    ages = (0, 34, 36)
    for name in (victim, home.name("globex")):
        for age in ages:
            postgres.administer(
                "INSERT INTO bulkhead.ledger (organization, id, type, at, principal, agent, "
                "package, version, model, input_tokens, output_tokens) VALUES "
                f"('{name}', 'use_{age}', 'model', bulkhead.now_ms() - {age} * 86400000::bigint, "
                "'me', 'a', 'p', '1', 'm', 1, 1)"
            )
    cursor = await attacker.execute("SELECT bulkhead.trim_ledger(9223372036854775807, 1000)")
    assert await cursor.fetchone() == (1,)
    left = postgres.administer(
        "SELECT organization, id FROM bulkhead.ledger WHERE id IN ('use_0', 'use_34', 'use_36') "
        f"AND organization IN ('{victim}', '{home.name('globex')}')"
    )
    assert set(left) == {(victim, f"use_{age}") for age in ages} | {
        (home.name("globex"), "use_0"),
        (home.name("globex"), "use_34"),
    }


@pytest.mark.parametrize(
    "statement",
    [
        "INSERT INTO bulkhead.policies VALUES (%(victim)s, 'tool', 'mine', '{}', 'me', 0)",
        "INSERT INTO bulkhead.figures VALUES (%(victim)s, 10, 0, 'mine', '')",
        "UPDATE bulkhead.sessions SET organization = %(victim)s",
        "INSERT INTO bulkhead.tenants VALUES (session_user, %(victim)s)",
        "UPDATE bulkhead.tenants SET organization = %(victim)s",
        "DELETE FROM bulkhead.tenants",
        "SELECT bulkhead.grant_access('public')",
        "UPDATE bulkhead.ledger SET cost = 0",
        "DELETE FROM bulkhead.ledger",
        "UPDATE bulkhead.messages SET content = ''",
        "ALTER TABLE bulkhead.sessions NO FORCE ROW LEVEL SECURITY",
        "DROP POLICY own_organization ON bulkhead.sessions",
        "SET ROLE bulkhead_owner",
        "SET SESSION AUTHORIZATION bulkhead_owner",
        "CREATE TABLE bulkhead.mine (x int)",
        "DELETE FROM bulkhead.migrations",
    ],
)
async def test_what_would_lead_out_of_the_organization_is_refused(
    attacker: AsyncConnection, victim: str, statement: str
) -> None:
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        await attacker.execute(statement.encode(), {"victim": victim})


async def test_a_role_without_an_organization_sees_and_writes_nothing(
    postgres: Postgres, victim: str
) -> None:
    postgres.administer("CREATE ROLE stranger LOGIN PASSWORD 'stranger'")
    postgres.administer("SELECT bulkhead.grant_access('stranger')")
    try:
        async with await AsyncConnection.connect(
            postgres.dsn("stranger", "stranger"), autocommit=True
        ) as connection:
            cursor = await connection.execute("SELECT count(*) FROM bulkhead.sessions")
            assert await cursor.fetchone() == (0,)
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                await connection.execute("INSERT INTO bulkhead.organizations VALUES ('new')")
    finally:
        postgres.administer("DROP OWNED BY stranger")
        postgres.administer("DROP ROLE stranger")


async def test_a_runtime_refuses_the_role_of_another_organization(
    home: SharedHome, victim: str
) -> None:
    store = open_store("globex", await home.mounted(victim), connections=1, cache=False)
    with pytest.raises(SchemaError, match=r"not 'globex'.*provision --organization globex"):
        await store.recover()
    await store.close()


async def test_a_runtime_refuses_a_role_that_security_does_not_hold(
    postgres: Postgres, tmp_path: Path
) -> None:
    home = SharedHome(tmp_path, postgres)
    name = home.name("acme")
    await home.mounted(name)
    postgres.administer(f'ALTER ROLE "bulkhead_{name}" BYPASSRLS')
    with pytest.raises(SchemaError, match="superuser or has BYPASSRLS"):
        await home.open("acme")
    await home.close()
