"""As docs/platform/records.md says it: who may dump the tables, and what comes back."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from bulkhead_api import names
from bulkhead_runtime.store.postgres.opening import open_store
from tests.support.postgres import Postgres
from tests.support.servers import binary
from tests.support.shared_homes import SharedHome
from tests.support.store_work import said, say

PASSWORD = "correct-horse-battery"
FOLDERS = "usr/lib/postgresql/*/bin"
PACKAGE = "postgresql-client-15"


@pytest.fixture
def restored(postgres: Postgres) -> Iterator[str]:
    """An empty database of the tables' owner, by its name."""
    postgres.administer("CREATE DATABASE restored OWNER bulkhead_owner", database="postgres")
    yield "restored"
    postgres.administer("DROP DATABASE restored WITH (FORCE)", database="postgres")


@pytest.fixture
def backup_dsn(postgres: Postgres) -> Iterator[str]:
    """The DSN of the role that the documentation makes for backups."""
    postgres.administer(f"CREATE ROLE backup LOGIN BYPASSRLS PASSWORD '{PASSWORD}'")
    postgres.administer("GRANT pg_read_all_data TO backup")
    yield postgres.dsn("backup", PASSWORD)
    postgres.administer("DROP ROLE backup")


def _dump(dsn: str, *options: str | Path) -> subprocess.CompletedProcess[str]:
    program = binary("pg_dump", PACKAGE, FOLDERS)
    return subprocess.run([program, *options, dsn], capture_output=True, text=True, check=False)


def _restore(postgres: Postgres, dump: Path, database: str) -> None:
    where = f"host={postgres.server.folder} port={postgres.server.port} user=postgres"
    program = binary("pg_restore", PACKAGE, FOLDERS)
    subprocess.run(
        [program, "--exit-on-error", f"--dbname={where} dbname={database}", dump], check=True
    )


async def test_the_tables_owner_dumps_no_row(postgres: Postgres, home: SharedHome) -> None:
    await say(await home.open(), "hello", new=True)
    refused = _dump(postgres.owner_dsn)
    empty = _dump(postgres.owner_dsn, "--enable-row-security", "--data-only")
    assert refused.returncode != 0
    assert "row-level security" in refused.stderr
    assert empty.returncode == 0
    assert "re: hello" not in empty.stdout


async def test_an_organization_goes_on_with_what_a_dump_brought_back(
    postgres: Postgres, home: SharedHome, backup_dsn: str, restored: str, tmp_path: Path
) -> None:
    store = await home.open()
    await say(store, "before", new=True)
    dumped = _dump(backup_dsn, "--format=custom", "--file", tmp_path / "bulkhead.dump")
    assert dumped.returncode == 0, dumped.stderr
    await say(store, "lost")
    _restore(postgres, tmp_path / "bulkhead.dump", restored)
    name = home.name("acme")
    mounted = await home.mounted(name)
    file = mounted / names.POSTGRES_DSN_FILE
    file.write_text(f"{file.read_text().rpartition('/')[0]}/{restored}")
    back = open_store(name, mounted, connections=1, cache=False)
    await back.recover()
    await say(back, "after")
    assert await said(back) == ["before", "re: before", "after", "re: after"]
    await back.close()
