"""Brings the tables of the shared store to this release's version, under the owner's role.

A migration only adds: while replicas are replaced, the former release still asks the same tables.
Everything that is missing runs in one transaction, so a failure leaves the former version.
"""

import hashlib
from dataclasses import dataclass
from importlib.resources import files

from psycopg import AsyncConnection

from bulkhead_runtime.errors import StartError

# "bulk" in ASCII: any number does that no other program takes a lock of this database with.
_ADVISORY_LOCK = 0x62756C6B

_HISTORY = """
CREATE SCHEMA IF NOT EXISTS bulkhead;
CREATE TABLE IF NOT EXISTS bulkhead.migrations (
    version integer PRIMARY KEY,
    name text NOT NULL,
    checksum text NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT now()
)
"""


class SchemaError(StartError):
    """The tables are not what this release can work with; the message names the remedy."""


@dataclass(frozen=True, slots=True)
class Migration:
    """One step; steps run in the order of their versions, each once."""

    version: int
    name: str
    script: str

    @property
    def checksum(self) -> str:
        """Return what tells whether an applied script is the one that is here."""
        return hashlib.sha256(self.script.encode()).hexdigest()


def known() -> tuple[Migration, ...]:
    """Return the migrations of this release, oldest first."""
    folder = files("bulkhead_runtime.store.postgres") / "migrations"
    scripts = sorted(
        (entry for entry in folder.iterdir() if entry.name.endswith(".sql")),
        key=lambda entry: entry.name,
    )
    return tuple(
        Migration(int(entry.name[:4]), entry.name.removesuffix(".sql"), entry.read_text())
        for entry in scripts
    )


def needed_version() -> int:
    """Return the version that this release needs at least."""
    return known()[-1].version


async def applied(connection: AsyncConnection) -> dict[int, str]:
    """Return the checksum of every applied version; none where there is no schema yet."""
    cursor = await connection.execute("SELECT to_regclass('bulkhead.migrations')")
    row = await cursor.fetchone()
    if row is None or row[0] is None:
        return {}
    cursor = await connection.execute("SELECT version, checksum FROM bulkhead.migrations")
    return dict(await cursor.fetchall())


async def take_turn(connection: AsyncConnection) -> None:
    """Wait until no other command of the owner is at it, until the end of this transaction."""
    await connection.execute("SELECT pg_advisory_xact_lock(%s)", [_ADVISORY_LOCK])


async def migrate(connection: AsyncConnection) -> tuple[Migration, ...]:
    """Apply what is missing and return it; concurrent callers take turns.

    Raises `SchemaError` where an applied script differs from the one of this release.
    """
    async with connection.transaction():
        await take_turn(connection)
        await connection.execute(_HISTORY)
        there = await applied(connection)
        missing = []
        for migration in known():
            checksum = there.get(migration.version)
            if checksum is None:
                await _apply(connection, migration)
                missing.append(migration)
            elif checksum != migration.checksum:
                raise SchemaError(
                    f"migration {migration.name} was applied with another content: use the "
                    "release that applied it, or one that comes after it"
                )
        if missing:
            await _grant_again(connection)
    return tuple(missing)


async def _apply(connection: AsyncConnection, migration: Migration) -> None:
    await connection.execute(migration.script.encode())
    await connection.execute(
        "INSERT INTO bulkhead.migrations (version, name, checksum) VALUES (%s, %s, %s)",
        [migration.version, migration.name, migration.checksum],
    )


async def _grant_again(connection: AsyncConnection) -> None:
    """Let every organization's role use what was added."""
    await connection.execute("SELECT bulkhead.grant_access(role) FROM bulkhead.tenants")
