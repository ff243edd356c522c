import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import AsyncConnection

from bulkhead_api import names
from bulkhead_runtime.store.postgres import decoding, encoding, migrations, provisioning
from bulkhead_runtime.store.postgres.migrations import SchemaError
from tests.support.deadline import until
from tests.support.postgres import Postgres
from tests.support.shared_homes import SharedHome
from tests.support.store_commands import command
from tests.support.store_work import (
    BOUNDS,
    begin,
    begin_turn,
    finish,
    line,
    new_session,
    remembered,
)

PASSWORD = "correct-horse-battery"


@pytest.fixture
def empty() -> Iterator[Postgres]:
    postgres = Postgres()
    yield postgres
    postgres.close()


def test_the_command_migrates_tells_the_version_and_does_nothing_twice(empty: Postgres) -> None:
    owner = {"BULKHEAD_POSTGRES_OWNER_DSN": empty.owner_dsn}
    before = command("status", environment=owner)
    first = command("migrate", environment=owner)
    second = command("migrate", environment=owner)
    after = command("status", environment=owner)
    needed = command("version", environment={})
    assert (before.returncode, after.returncode) == (1, 0)
    assert "has version 0" not in after.stdout
    assert first.stdout.count("applied ") == len(migrations.known())
    assert "applied" not in second.stdout
    assert f"the tables have version {needed.stdout.strip()}" in second.stdout


async def test_migrations_at_once_take_turns_and_apply_each_once(empty: Postgres) -> None:
    async def migrate() -> int:
        async with await AsyncConnection.connect(empty.owner_dsn, autocommit=True) as connection:
            return len(await migrations.migrate(connection))

    applied = await asyncio.gather(*(migrate() for _ in range(4)))
    assert sorted(applied) == [0, 0, 0, len(migrations.known())]


@pytest.mark.parametrize("question", ["work", "write"])
async def test_runtimes_of_this_and_of_the_former_release_are_answered(
    home: SharedHome, question: str
) -> None:
    await home.open()
    dsn = (await home.mounted(home.name("acme"))) / names.POSTGRES_DSN_FILE
    asked = begin(turn=begin_turn(new=True))
    async with await AsyncConnection.connect(dsn.read_text(), autocommit=True) as connection:

        async def answers(*items: bytes) -> list[Any]:
            cursor = await connection.execute(
                f"SELECT bulkhead.{question}(%s::jsonb, false)".encode(),
                [f"[{b','.join(items).decode()}]"],
            )
            row = await cursor.fetchone()
            assert row is not None
            found: list[Any] = row[0]["answers"]
            return found

        (begun,) = await answers(encoding.begin(asked, BOUNDS))
        end = remembered(decoding.turn(begun["turn"], begin_turn(), ()), "hello")
        finished = encoding.finish(finish(asked, turn=end, lines=(line(),)), BOUNDS, "ses_1")
        made = {"new": encoding.new_session(new_session()), "bounds": encoding.bounds(BOUNDS)}
        ended, again, taken = await answers(
            finished, finished, encoding.encode({"do": "create", **made})
        )
    assert ended["turn"] == "stored"
    assert ended == again
    session = decoding.session(ended["head"], BOUNDS)
    assert (session.id, session.turns, session.messages, session.cost) == ("ses_1", 1, 2, "0.1")
    assert (taken["problem"], taken["state"]) == ("failed", "23505")


async def _apply_former(owner: AsyncConnection, version: int) -> None:
    """Make the tables of the release that had this version."""
    await owner.execute(
        "CREATE SCHEMA bulkhead; CREATE TABLE bulkhead.migrations (version integer PRIMARY KEY, "
        "name text NOT NULL, checksum text NOT NULL, applied_at timestamptz DEFAULT now())"
    )
    for former in migrations.known()[:version]:
        await owner.execute(former.script.encode())
        await owner.execute(
            "INSERT INTO bulkhead.migrations (version, name, checksum) VALUES (%s, %s, %s)",
            [former.version, former.name, former.checksum],
        )


async def test_a_migration_waits_for_readers_and_lets_them_read_on(empty: Postgres) -> None:
    async with await AsyncConnection.connect(empty.owner_dsn, autocommit=True) as owner:
        await _apply_former(owner, 11)
        async with await AsyncConnection.connect(empty.owner_dsn) as reader:
            await reader.execute("SELECT 1 FROM bulkhead.sessions")
            migrating = asyncio.create_task(migrations.migrate(owner))

            async def in_the_way() -> bool:
                return empty.administer("SELECT 1 FROM pg_locks WHERE NOT granted") != []

            await until(in_the_way, "the migration waits for the reader")
            for table in ("messages", "organizations"):
                await reader.execute(f"SELECT 1 FROM bulkhead.{table}".encode())
            assert not migrating.done()
        assert 12 in {migration.version for migration in await migrating}


async def test_a_question_that_waited_for_a_migration_is_answered(empty: Postgres) -> None:
    async with await AsyncConnection.connect(empty.owner_dsn, autocommit=True) as owner:
        await _apply_former(owner, 12)
        dsn = empty.dsn(await provisioning.provision(owner, "acme", PASSWORD), PASSWORD)
        async with await AsyncConnection.connect(dsn, autocommit=True) as runtime:
            await runtime.execute("INSERT INTO bulkhead.organizations DEFAULT VALUES")

            async def created(session_id: str) -> Any:
                new = encoding.new_session(new_session(session_id))
                item = {"do": "create", "new": new, "bounds": encoding.bounds(BOUNDS)}
                items = f"[{encoding.encode(item).decode()}]"
                cursor = await runtime.execute("SELECT bulkhead.write(%s::jsonb, false)", [items])
                row = await cursor.fetchone()
                assert row is not None
                return row[0]["answers"][0][0]

            assert await created("ses_1") == "ses_1"
            async with owner.transaction():
                await owner.execute("LOCK TABLE bulkhead.organizations")
                asking = asyncio.create_task(created("ses_2"))

                async def waits() -> bool:
                    return empty.administer("SELECT 1 FROM pg_locks WHERE NOT granted") != []

                await until(waits, "the question waits for the tables")
                await migrations.migrate(owner)
            assert await asking == "ses_2"
            assert await created("ses_3") == "ses_3"


async def test_a_script_that_changed_after_it_was_applied_is_refused(empty: Postgres) -> None:
    await empty.migrate()
    empty.administer("UPDATE bulkhead.migrations SET checksum = 'other' WHERE version = 1")
    done = command("migrate", environment={"BULKHEAD_POSTGRES_OWNER_DSN": empty.owner_dsn})
    assert done.returncode == 2
    assert "0001_tables was applied with another content" in done.stderr


def test_a_dsn_that_cannot_be_read_is_told_of_without_being_shown() -> None:
    owner = {"BULKHEAD_POSTGRES_OWNER_DSN": f"owner:{PASSWORD}@db/bulkhead"}
    done = command("status", environment=owner)
    assert done.returncode == 2
    assert "the DSN cannot be read: write postgresql://" in done.stderr
    assert PASSWORD not in done.stderr


def test_without_a_dsn_the_command_says_where_it_looks(tmp_path: Path) -> None:
    nowhere = command("status", environment={})
    no_file = command("--dsn-file", str(tmp_path / "dsn"), "status", environment={})
    assert (nowhere.returncode, no_file.returncode) == (2, 2)
    assert "set BULKHEAD_POSTGRES_OWNER_DSN or name a file with --dsn-file" in nowhere.stderr
    assert "No such file" in no_file.stderr


async def test_a_provisioned_role_logs_in_and_its_password_is_in_no_log(empty: Postgres) -> None:
    await empty.migrate()
    empty.administer("ALTER SYSTEM SET log_statement = 'all'")
    empty.administer("SELECT pg_reload_conf()")
    owner = {"BULKHEAD_POSTGRES_OWNER_DSN": empty.owner_dsn}
    arguments = ("provision", "--organization", "acme", "--password-stdin")
    done = command(*arguments, environment=owner, stdin=PASSWORD + "\n")
    assert done.stdout == "role bulkhead_acme sees organization acme\n", done.stderr
    with psycopg.connect(empty.dsn("bulkhead_acme", PASSWORD)) as connection:
        assert connection.execute("SELECT bulkhead.organization()").fetchone() == ("acme",)
    log = (empty.server.folder / "log").read_text()
    assert "CREATE ROLE" in log
    assert PASSWORD not in log + done.stdout + done.stderr


async def test_provisioning_again_gives_the_role_another_password(empty: Postgres) -> None:
    await empty.migrate()
    owner = {"BULKHEAD_POSTGRES_OWNER_DSN": empty.owner_dsn}
    for password in (PASSWORD, f"another-{PASSWORD}"):
        environment = {**owner, "BULKHEAD_POSTGRES_ROLE_PASSWORD": password}
        done = command("provision", "--organization", "acme", environment=environment)
        assert done.returncode == 0, done.stderr
    with psycopg.connect(empty.dsn("bulkhead_acme", f"another-{PASSWORD}")) as connection:
        assert connection.execute("SELECT bulkhead.organization()").fetchone() == ("acme",)
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(empty.dsn("bulkhead_acme", PASSWORD))


@pytest.mark.parametrize(
    ("arguments", "password", "said"),
    [
        (("--organization", "Acme"), PASSWORD, "is no name of an organization"),
        (("--organization", "a; DROP"), PASSWORD, "is no name of an organization"),
        (("--organization", "globex"), "short", "shorter than 12 characters"),
        (("--organization", "globex"), "", "give a password for it"),
    ],
    ids=["a capital", "SQL", "a short password", "no password for a new role"],
)
async def test_provisioning_refuses(
    postgres: Postgres, arguments: tuple[str, ...], password: str, said: str
) -> None:
    environment = {
        "BULKHEAD_POSTGRES_OWNER_DSN": postgres.owner_dsn,
        "BULKHEAD_POSTGRES_ROLE_PASSWORD": password,
    }
    done = command("provision", *arguments, environment=environment)
    assert done.returncode == 2
    assert said in done.stderr


async def test_a_runtime_refuses_tables_that_are_missing_or_too_old(
    empty: Postgres, tmp_path: Path
) -> None:
    await empty.migrate()
    home = SharedHome(tmp_path, empty)
    await home.mounted(home.name("acme"))
    empty.administer("DELETE FROM bulkhead.migrations WHERE version > 1")
    with pytest.raises(SchemaError, match=r"this release needs \d+: run .* migrate"):
        await home.open()
    empty.administer("DROP SCHEMA bulkhead CASCADE")
    with pytest.raises(SchemaError, match="migrate"):
        await home.open()
    await home.close()
