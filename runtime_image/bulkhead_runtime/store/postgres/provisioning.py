"""Makes the role of one organization: it logs in, sees its organization's rows and owns nothing."""

from psycopg import AsyncConnection, sql

from bulkhead_runtime.store.postgres.migrations import SchemaError

ROLE_PREFIX = "bulkhead_"
STATEMENT_TIMEOUT = "60s"
LOCK_TIMEOUT = "10s"

_ATTRIBUTES = "LOGIN NOCREATEDB NOCREATEROLE NOINHERIT"
_ATTRIBUTES_OF_NEW = f"{_ATTRIBUTES} NOSUPERUSER NOREPLICATION NOBYPASSRLS"
"""Only a superuser may name the last three of a role that exists; runtimes refuse such a role."""


def role_of(organization: str) -> str:
    """Return the name of an organization's role."""
    return ROLE_PREFIX + organization


async def provision(connection: AsyncConnection, organization: str, password: str | None) -> str:
    """Make or change the organization's role, map it and grant it access; return its name.

    `connection` needs the owner of the tables, with CREATEROLE. A `password` of None keeps that of
    a role that exists. Raises `SchemaError` where the role belongs to another organization, and
    where it would have to be made without a password.
    """
    role = role_of(organization)
    async with connection.transaction():
        await _make_role(connection, role, password)
        for setting, value in (
            ("statement_timeout", STATEMENT_TIMEOUT),
            ("lock_timeout", LOCK_TIMEOUT),
            ("idle_in_transaction_session_timeout", STATEMENT_TIMEOUT),
        ):
            await connection.execute(
                sql.SQL("ALTER ROLE {} SET {} = {}").format(
                    sql.Identifier(role), sql.Identifier(setting), sql.Literal(value)
                )
            )
        await _map(connection, role, organization)
        await connection.execute("SELECT bulkhead.grant_access(%s::name)", [role])
    return role


async def _make_role(connection: AsyncConnection, role: str, password: str | None) -> None:
    cursor = await connection.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", [role])
    exists = await cursor.fetchone() is not None
    if not exists and password is None:
        raise SchemaError(f"role {role} does not exist yet: give a password for it")
    name = sql.Identifier(role)
    if exists:
        statement = sql.SQL("ALTER ROLE {} " + _ATTRIBUTES).format(name)
    else:
        statement = sql.SQL("CREATE ROLE {} " + _ATTRIBUTES_OF_NEW).format(name)
    if password is not None:
        # The server only ever sees the verifier, so no log of statements can hold the password.
        verifier = connection.pgconn.encrypt_password(
            password.encode(), role.encode(), b"scram-sha-256"
        )
        statement += sql.SQL(" PASSWORD {}").format(sql.Literal(verifier.decode()))
    await connection.execute(statement)


async def _map(connection: AsyncConnection, role: str, organization: str) -> None:
    await connection.execute(
        "INSERT INTO bulkhead.tenants (role, organization) VALUES (%s, %s) ON CONFLICT DO NOTHING",
        [role, organization],
    )
    cursor = await connection.execute(
        "SELECT organization FROM bulkhead.tenants WHERE role = %s", [role]
    )
    row = await cursor.fetchone()
    if row is None or row[0] != organization:
        raise SchemaError(f"role {role} belongs to another organization already")
