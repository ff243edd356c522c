"""The tables, version by version.

A migration only adds: during a rolling update the former release still writes to the same file.
`PRAGMA user_version` says how many have run.
"""

import sqlite3

MIGRATIONS = (
    """
    CREATE TABLE sessions (
        id TEXT PRIMARY KEY,
        principal TEXT NOT NULL,
        agent TEXT NOT NULL,
        package TEXT NOT NULL,
        version TEXT NOT NULL,
        status TEXT NOT NULL,
        created_at INTEGER NOT NULL,
        updated_at INTEGER NOT NULL,
        turns INTEGER NOT NULL DEFAULT 0,
        messages INTEGER NOT NULL DEFAULT 0,
        input_tokens INTEGER NOT NULL DEFAULT 0,
        output_tokens INTEGER NOT NULL DEFAULT 0,
        cost TEXT,
        metadata TEXT NOT NULL,
        bytes INTEGER NOT NULL,
        fence INTEGER NOT NULL DEFAULT 0,
        lock_owner TEXT,
        lock_until INTEGER
    ) WITHOUT ROWID;
    CREATE INDEX sessions_by_principal ON sessions (principal, created_at DESC, id DESC);
    CREATE INDEX sessions_by_activity ON sessions (updated_at);
    CREATE INDEX sessions_locked ON sessions (lock_owner) WHERE lock_owner IS NOT NULL;
    CREATE TABLE messages (
        session_id TEXT NOT NULL,
        sequence INTEGER NOT NULL,
        turn INTEGER NOT NULL,
        role TEXT NOT NULL,
        content TEXT NOT NULL,
        tool_calls TEXT,
        tool_call_id TEXT,
        tokens INTEGER NOT NULL,
        created_at INTEGER NOT NULL,
        PRIMARY KEY (session_id, sequence)
    ) WITHOUT ROWID;
    CREATE TABLE ledger (
        id INTEGER PRIMARY KEY,
        session_id TEXT,
        agent TEXT NOT NULL,
        package TEXT NOT NULL,
        version TEXT NOT NULL,
        model TEXT NOT NULL,
        input_tokens INTEGER NOT NULL,
        output_tokens INTEGER NOT NULL,
        cost TEXT,
        created_at INTEGER NOT NULL
    );
    CREATE TABLE version_sessions (
        package TEXT NOT NULL,
        version TEXT NOT NULL,
        sessions INTEGER NOT NULL,
        PRIMARY KEY (package, version)
    ) WITHOUT ROWID;
    CREATE TABLE pool (
        id INTEGER PRIMARY KEY CHECK (id = 1),
        used_bytes INTEGER NOT NULL,
        sessions INTEGER NOT NULL
    );
    INSERT INTO pool (id, used_bytes, sessions) VALUES (1, 0, 0);
    """,
)


class NewerSchemaError(Exception):
    """The file was written by a newer release, which this one does not understand."""


def migrate(connection: sqlite3.Connection) -> None:
    """Bring the tables to this release's version; concurrent processes take turns."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        for script in MIGRATIONS[_version(connection) :]:
            for statement in script.split(";"):
                connection.execute(statement)
        connection.execute(f"PRAGMA user_version = {len(MIGRATIONS)}")
    except BaseException:
        connection.rollback()
        raise
    connection.commit()


def _version(connection: sqlite3.Connection) -> int:
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version > len(MIGRATIONS):
        raise NewerSchemaError(
            f"the store has schema version {version}, this release knows {len(MIGRATIONS)}: "
            "run the newer release again"
        )
    return int(version)
