"""Prepares a PostgreSQL for the shared store, and removes what is to leave it.

The commands are `migrate`, `status`, `version`, `provision` and `deprovision`.

Connects with the DSN of the tables' owner, from the file that --dsn-file names or from
BULKHEAD_POSTGRES_OWNER_DSN. A password comes from BULKHEAD_POSTGRES_ROLE_PASSWORD or, with
--password-stdin, from standard input; never from an argument, which others can read.
"""

import argparse
import asyncio
import os
import re
import sys
from pathlib import Path

import psycopg
from psycopg import AsyncConnection

from bulkhead_runtime.store.postgres import deprovisioning, migrations, provisioning
from bulkhead_runtime.store.postgres.dsn import REMEDY, readable
from bulkhead_runtime.store.postgres.migrations import SchemaError

DSN_VARIABLE = "BULKHEAD_POSTGRES_OWNER_DSN"
PASSWORD_VARIABLE = "BULKHEAD_POSTGRES_ROLE_PASSWORD"  # noqa: S105 (a variable's name)
MIN_PASSWORD_CHARACTERS = 12

_ORGANIZATION = re.compile(r"[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?")
_CONNECT_SECONDS = 10


def main(arguments: list[str] | None = None) -> int:
    """Run one command and return its exit code: 0 done, 1 something is to be done, 2 failed."""
    given = _parser().parse_args(arguments)
    if given.command == "version":
        _say(str(migrations.needed_version()))
        return 0
    try:
        return asyncio.run(_run(given))
    except SchemaError as error:
        _complain(str(error))
    except psycopg.Error as error:
        # About a readable DSN libpq's messages name host and role, never the password.
        _complain(f"PostgreSQL: {' '.join(str(error).split())}")
    return 2


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m bulkhead_runtime.store.postgres",
        description="Prepare a PostgreSQL database for the shared store.",
    )
    parser.add_argument("--dsn-file", type=Path, help=f"holds the owner's DSN (or {DSN_VARIABLE})")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("migrate", help="bring the tables to this release's version")
    commands.add_parser("status", help="show the tables' version; 1 when migrations are missing")
    commands.add_parser("version", help="show the version that this release needs")
    provision = commands.add_parser("provision", help="make the role of one organization")
    deprovision = commands.add_parser(
        "deprovision", help="remove the role and all rows of one organization, for good"
    )
    for command in (provision, deprovision):
        command.add_argument("--organization", required=True, help="metadata.name of the resource")
    deprovision.add_argument(
        "--confirm", default="", help="the organization's name again: nothing brings its rows back"
    )
    provision.add_argument(
        "--password-stdin",
        action="store_true",
        help=f"read the role's password from standard input instead of {PASSWORD_VARIABLE}",
    )
    return parser


async def _run(given: argparse.Namespace) -> int:
    connection = await AsyncConnection.connect(
        _dsn(given.dsn_file), autocommit=True, connect_timeout=_CONNECT_SECONDS
    )
    async with connection:
        if given.command == "migrate":
            for migration in await migrations.migrate(connection):
                _say(f"applied {migration.name}")
            _say(f"the tables have version {migrations.needed_version()}")
            return 0
        if given.command == "status":
            return await _status(connection)
        _check_name(given.organization)
        if given.command == "provision":
            return await _provision(connection, given)
        return await _deprovision(connection, given)


async def _status(connection: AsyncConnection) -> int:
    there = max(await migrations.applied(connection), default=0)
    needed = migrations.needed_version()
    _say(f"the tables have version {there}, this release needs {needed}")
    return 0 if there >= needed else 1


def _check_name(organization: str) -> None:
    if _ORGANIZATION.fullmatch(organization) is None:
        raise SchemaError(
            f"--organization {organization!r} is no name of an organization: use lower-case "
            "letters, digits and hyphens, at most 40"
        )


async def _provision(connection: AsyncConnection, given: argparse.Namespace) -> int:
    password = _password(from_stdin=given.password_stdin)
    role = await provisioning.provision(connection, given.organization, password)
    _say(f"role {role} sees organization {given.organization}")
    return 0


async def _deprovision(connection: AsyncConnection, given: argparse.Namespace) -> int:
    organization = given.organization
    if given.confirm != organization:
        raise SchemaError(
            f"this removes every conversation, event and use of {organization} for good: say so "
            f"with --confirm {organization}"
        )
    removed = await deprovisioning.deprovision(connection, organization)
    for table, rows in removed.items():
        if rows:
            _say(f"removed {rows} rows of {table}")
    _say(f"nothing of organization {organization} is left")
    return 0


def _dsn(file: Path | None) -> str:
    dsn = os.environ.get(DSN_VARIABLE, "") if file is None else _read(file)
    if not dsn.strip():
        raise SchemaError(f"no DSN: set {DSN_VARIABLE} or name a file with --dsn-file")
    if not readable(dsn.strip()):
        raise SchemaError(f"the DSN cannot be read: {REMEDY}")
    return dsn.strip()


def _read(file: Path) -> str:
    try:
        return file.read_text()
    except OSError as error:
        raise SchemaError(f"--dsn-file {file}: {error.strerror}") from error


def _password(*, from_stdin: bool) -> str | None:
    password = sys.stdin.readline().strip() if from_stdin else os.environ.get(PASSWORD_VARIABLE)
    if not password:
        return None
    if len(password) < MIN_PASSWORD_CHARACTERS:
        raise SchemaError(f"the password is shorter than {MIN_PASSWORD_CHARACTERS} characters")
    return password


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")


def _complain(text: str) -> None:
    sys.stderr.write(f"{text}\n")


if __name__ == "__main__":
    sys.exit(main())
