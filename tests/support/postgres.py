"""A real PostgreSQL with the project's tables, and PgBouncer in front of it where a test wants."""

import functools
import secrets
import signal

import psycopg
from psycopg import AsyncConnection

from bulkhead_runtime.store.postgres import migrations, provisioning
from tests.support.servers import Server, binary

_FOLDERS = "usr/lib/postgresql/*/bin"
_DATABASE = "bulkhead"
_OWNER = "bulkhead_owner"


class Postgres:
    """One cluster with one database; superuser over its socket, everybody else by password."""

    def __init__(self, *, durable: bool = False) -> None:
        self.server = Server("postgres", user="postgres")
        self._durable = durable
        self._owner_password = secrets.token_hex(12)
        self._data = self.server.folder / "data"
        self.server.run(
            [
                binary("initdb", "postgresql-15", _FOLDERS),
                *("--pgdata", self._data, "--username=postgres", "--no-locale", "--encoding=UTF8"),
                *("--auth-local=trust", "--auth-host=scram-sha-256", "--no-sync"),
            ]
        )
        self.start()
        self.administer(
            f"CREATE ROLE {_OWNER} LOGIN CREATEROLE PASSWORD '{self._owner_password}'",
            database="postgres",
        )
        self.administer(f"CREATE DATABASE {_DATABASE} OWNER {_OWNER}", database="postgres")

    @property
    def owner_dsn(self) -> str:
        """Return the DSN of who owns the tables."""
        return self.dsn(_OWNER, self._owner_password)

    def dsn(self, role: str, password: str, port: int | None = None) -> str:
        """Return a DSN over TCP."""
        where = f"127.0.0.1:{port or self.server.port}"
        return f"postgresql://{role}:{password}@{where}/{_DATABASE}"

    def start(self) -> None:
        """Start the server on its port and its data."""
        fsync = "on" if self._durable else "off"
        options = {
            "listen_addresses": "127.0.0.1",
            "port": str(self.server.port),
            "unix_socket_directories": str(self.server.folder),
            "fsync": fsync,
            "full_page_writes": fsync,
            "shared_buffers": "64MB",
            "max_connections": "60",
        }
        given = [part for name, value in options.items() for part in ("-c", f"{name}={value}")]
        program = binary("postgres", "postgresql-15", _FOLDERS)
        self.server.launch([program, "-D", self._data, *given], self._accepts)

    def stop(self) -> None:
        """End the server at once, as an outage does."""
        self.server.stop(signal.SIGQUIT)

    def administer(self, statement: str, database: str = _DATABASE) -> list[tuple[object, ...]]:
        """Run one statement as superuser and return its rows."""
        with psycopg.connect(self._superuser(database), autocommit=True) as connection:
            cursor = connection.execute(statement.encode())
            return [] if cursor.description is None else cursor.fetchall()

    async def migrate(self) -> None:
        """Make the tables."""
        async with await AsyncConnection.connect(self.owner_dsn, autocommit=True) as connection:
            await migrations.migrate(connection)

    async def add_organization(self, name: str) -> str:
        """Make an organization's role and return its DSN."""
        password = secrets.token_hex(12)
        async with await AsyncConnection.connect(self.owner_dsn, autocommit=True) as connection:
            role = await provisioning.provision(connection, name, password)
        return self.dsn(role, password)

    def close(self) -> None:
        """End the server and remove its data."""
        self.server.close()

    def _superuser(self, database: str) -> str:
        folder = self.server.folder
        return f"host={folder} port={self.server.port} user=postgres dbname={database}"

    def _accepts(self) -> bool:
        try:
            self.administer("SELECT 1", database="postgres")
        except psycopg.OperationalError:
            return False
        return True


class PgBouncer:
    """PgBouncer in transaction mode with fewer server connections than clients."""

    def __init__(self, postgres: Postgres, users: dict[str, str], *, size: int) -> None:
        self.server = Server("pgbouncer", user="postgres")
        folder = self.server.folder
        listing = folder / "users.txt"
        listing.write_text("".join(f'"{role}" "{word}"\n' for role, word in users.items()))
        configuration = folder / "pgbouncer.ini"
        configuration.write_text(
            "[databases]\n"
            f"{_DATABASE} = host=127.0.0.1 port={postgres.server.port}\n"
            "[pgbouncer]\n"
            f"listen_addr = 127.0.0.1\nlisten_port = {self.server.port}\n"
            f"auth_type = plain\nauth_file = {listing}\nunix_socket_dir =\n"
            f"pool_mode = transaction\ndefault_pool_size = {size}\n"
        )
        for file in (listing, configuration):
            file.chmod(0o644)
        program = binary("pgbouncer", "pgbouncer", "usr/sbin")
        self.server.launch([program, configuration], self.server.listens)

    def close(self) -> None:
        """End the server."""
        self.server.close()


@functools.cache
def _shared() -> Postgres:
    return Postgres()


async def shared_postgres() -> Postgres:
    """Return the one PostgreSQL of this test process, for tests that do nothing to the server."""
    postgres = _shared()
    await postgres.migrate()
    return postgres
