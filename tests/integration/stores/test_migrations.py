import asyncio
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from psycopg import AsyncConnection

from bulkhead_runtime.store.postgres import migrations
from bulkhead_runtime.store.postgres.migrations import SchemaError
from tests.support.postgres import Postgres
from tests.support.shared_homes import SharedHome
from tests.support.store_commands import command

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
