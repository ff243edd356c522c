"""Removes an organization from the shared store for good: its rows, its mapping, its role.

Not even the owner of the tables sees an organization's rows: row-level security is forced. So each
transaction maps the owner to the organization while it lasts, and still names the organization in
every statement, for an owner may be one whom row-level security does not hold.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from psycopg import AsyncConnection, sql

from bulkhead_runtime.store.postgres.migrations import SchemaError, take_turn
from bulkhead_runtime.store.postgres.provisioning import role_of

ROWS_AT_ONCE: Final = 10_000
"""A batch is a transaction: what an interrupted run removed stays removed, and it can run again."""

_TABLES = """
SELECT table_name FROM information_schema.columns
WHERE table_schema = 'bulkhead' AND column_name = 'organization' AND table_name <> 'tenants'
ORDER BY table_name = 'organizations', table_name
"""
_REMOVE = """
DELETE FROM bulkhead.{table} WHERE ctid = ANY(ARRAY(
    SELECT ctid FROM bulkhead.{table} WHERE organization = %s LIMIT {most}))
"""
_MAP = "INSERT INTO bulkhead.tenants (role, organization) VALUES (session_user, %s)"
_UNMAP = "DELETE FROM bulkhead.tenants WHERE role = session_user"
_CONNECTED = "SELECT count(*) FROM pg_stat_activity WHERE usename = %s"


async def deprovision(connection: AsyncConnection, organization: str) -> dict[str, int]:
    """Remove everything of an organization; return how many rows there were by table.

    `connection` needs the owner of the tables, with CREATEROLE. Raises `SchemaError` while a
    runtime is connected, and where there is nothing of the organization.
    """
    role = role_of(organization)
    known = await _lock_out(connection, role)
    removed = {table: 0 for (table,) in await (await connection.execute(_TABLES)).fetchall()}
    for table in removed:
        while count := await _remove(connection, table, organization):
            removed[table] += count
    forgotten = await _forget(connection, role, organization)
    if not (known or forgotten or any(removed.values())):
        raise SchemaError(f"there is nothing of organization {organization!r}: see --organization")
    return removed


async def _lock_out(connection: AsyncConnection, role: str) -> bool:
    """Let nobody log in as the organization any more; tell whether there is such a role."""
    async with connection.transaction():
        if not await _exists(connection, role):
            return False
        await connection.execute(sql.SQL("ALTER ROLE {} NOLOGIN").format(sql.Identifier(role)))
        cursor = await connection.execute(_CONNECTED, [role])
        row = await cursor.fetchone()
        if row is not None and row[0]:
            raise SchemaError(
                f"role {role} is connected {row[0]} times, so a runtime still works: delete the "
                "OrganizationRuntime first and wait until its connections, and PgBouncer's for "
                "it, have closed"
            )
    return True


async def _remove(connection: AsyncConnection, table: str, organization: str) -> int:
    statement = sql.SQL(_REMOVE).format(table=sql.Identifier(table), most=sql.Literal(ROWS_AT_ONCE))
    async with _as_owner_of_rows(connection, organization):
        return (await connection.execute(statement, [organization])).rowcount


@asynccontextmanager
async def _as_owner_of_rows(connection: AsyncConnection, organization: str) -> AsyncIterator[None]:
    async with connection.transaction():
        await take_turn(connection)
        await connection.execute(_MAP, [organization])
        yield
        await connection.execute(_UNMAP)


async def _forget(connection: AsyncConnection, role: str, organization: str) -> bool:
    """Remove mapping and role; tell whether there was a mapping."""
    name = sql.Identifier(role)
    async with connection.transaction():
        cursor = await connection.execute(
            "DELETE FROM bulkhead.tenants WHERE organization = %s", [organization]
        )
        if await _exists(connection, role):
            for granted in ("ALL TABLES IN SCHEMA bulkhead", "SCHEMA bulkhead"):
                revoke = sql.SQL("REVOKE ALL ON {} FROM {}").format(sql.SQL(granted), name)
                await connection.execute(revoke)
            await connection.execute(sql.SQL("DROP ROLE {}").format(name))
    return cursor.rowcount > 0


async def _exists(connection: AsyncConnection, role: str) -> bool:
    cursor = await connection.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", [role])
    return await cursor.fetchone() is not None
