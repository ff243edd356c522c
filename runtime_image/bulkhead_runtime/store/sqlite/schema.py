"""The tables, version by version.

A migration only adds: during a rolling update the former release still writes to the same file.
`PRAGMA user_version` says how many have run.
"""

import sqlite3

from bulkhead_runtime.errors import StartError

_CONVERSATIONS = """
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
"""

_ARCHIVE_AND_LIMITS = """
    ALTER TABLE sessions ADD COLUMN title TEXT NOT NULL DEFAULT '';
    ALTER TABLE sessions ADD COLUMN autonomy_level TEXT NOT NULL DEFAULT 'L1';
    ALTER TABLE sessions ADD COLUMN compactions INTEGER NOT NULL DEFAULT 0;
    ALTER TABLE sessions ADD COLUMN context_tokens INTEGER NOT NULL DEFAULT 0;
    ALTER TABLE sessions ADD COLUMN summary TEXT;
    ALTER TABLE sessions ADD COLUMN summary_until INTEGER NOT NULL DEFAULT 0;
    ALTER TABLE sessions ADD COLUMN archived_at INTEGER;
    ALTER TABLE pool ADD COLUMN archived_bytes INTEGER NOT NULL DEFAULT 0;
    ALTER TABLE pool ADD COLUMN answer_bytes INTEGER NOT NULL DEFAULT 0;
    ALTER TABLE pool ADD COLUMN kept_lines INTEGER NOT NULL DEFAULT 0;
    ALTER TABLE pool ADD COLUMN kept_events INTEGER NOT NULL DEFAULT 0;
    DROP INDEX sessions_by_principal;
    DROP INDEX sessions_by_activity;
    DROP INDEX sessions_locked;
    CREATE INDEX sessions_by_principal ON sessions (principal, created_at DESC, id DESC)
        WHERE archived_at IS NULL;
    CREATE INDEX sessions_by_activity ON sessions (updated_at) WHERE archived_at IS NULL;
    CREATE INDEX sessions_archived ON sessions (archived_at) WHERE archived_at IS NOT NULL;
    CREATE INDEX sessions_locked ON sessions (lock_owner, lock_until)
        WHERE lock_owner IS NOT NULL;
    CREATE TABLE principal_sessions (
        principal TEXT PRIMARY KEY,
        sessions INTEGER NOT NULL
    ) WITHOUT ROWID;
    INSERT INTO principal_sessions SELECT principal, count(*) FROM sessions GROUP BY principal;
    CREATE TABLE session_starts (
        second INTEGER PRIMARY KEY,
        sessions INTEGER NOT NULL
    );
"""

_SPENDING = """
    CREATE TABLE accounts (
        scope TEXT NOT NULL,
        key TEXT NOT NULL,
        used TEXT NOT NULL,
        reserved TEXT NOT NULL,
        updated_at INTEGER NOT NULL,
        PRIMARY KEY (scope, key)
    ) WITHOUT ROWID;
    CREATE TABLE reservations (
        id TEXT PRIMARY KEY,
        owner TEXT NOT NULL,
        lease_until INTEGER NOT NULL,
        accounts TEXT NOT NULL,
        amounts TEXT NOT NULL,
        session_id TEXT,
        fence INTEGER,
        principal TEXT NOT NULL,
        agent TEXT NOT NULL,
        package TEXT NOT NULL,
        version TEXT NOT NULL
    ) WITHOUT ROWID;
    CREATE TABLE claims (
        principal TEXT NOT NULL,
        key TEXT NOT NULL,
        content TEXT NOT NULL,
        reservation_id TEXT NOT NULL,
        owner TEXT NOT NULL,
        lease_until INTEGER NOT NULL,
        expires_at INTEGER NOT NULL,
        status INTEGER,
        content_type TEXT,
        body BLOB,
        PRIMARY KEY (principal, key)
    );
    CREATE INDEX claims_by_expiry ON claims (expires_at);
    CREATE INDEX claims_in_flight ON claims (owner) WHERE status IS NULL;
    ALTER TABLE ledger ADD COLUMN line_id TEXT;
    ALTER TABLE ledger ADD COLUMN type TEXT NOT NULL DEFAULT 'model';
    ALTER TABLE ledger ADD COLUMN principal TEXT NOT NULL DEFAULT '';
    ALTER TABLE ledger ADD COLUMN job_id TEXT;
    ALTER TABLE ledger ADD COLUMN run_id TEXT;
    ALTER TABLE ledger ADD COLUMN tool TEXT;
    CREATE UNIQUE INDEX ledger_by_line ON ledger (line_id) WHERE line_id IS NOT NULL;
    CREATE TABLE usage_days (
        day INTEGER NOT NULL,
        agent TEXT NOT NULL,
        model TEXT NOT NULL,
        principal TEXT NOT NULL,
        type TEXT NOT NULL,
        uses INTEGER NOT NULL,
        input_tokens INTEGER NOT NULL,
        output_tokens INTEGER NOT NULL,
        cost TEXT NOT NULL,
        uncosted INTEGER NOT NULL,
        PRIMARY KEY (day, agent, model, principal, type)
    ) WITHOUT ROWID;
"""

_RECORDS = """
    CREATE TABLE events (
        sequence INTEGER PRIMARY KEY AUTOINCREMENT,
        id TEXT NOT NULL,
        type TEXT NOT NULL,
        at INTEGER NOT NULL,
        principal TEXT NOT NULL,
        session_id TEXT,
        trace_id TEXT,
        run_id TEXT,
        data TEXT NOT NULL
    );
    CREATE INDEX events_by_session ON events (session_id, sequence) WHERE session_id IS NOT NULL;
    CREATE TABLE policies (
        kind TEXT NOT NULL,
        name TEXT NOT NULL,
        document TEXT NOT NULL,
        principal TEXT NOT NULL,
        created_at INTEGER NOT NULL,
        PRIMARY KEY (kind, name)
    ) WITHOUT ROWID;
    CREATE TABLE api_keys (
        name TEXT PRIMARY KEY,
        digest TEXT NOT NULL,
        principal TEXT NOT NULL,
        scopes TEXT NOT NULL,
        created_at INTEGER NOT NULL,
        expires_at INTEGER
    ) WITHOUT ROWID;
"""

_INTERRUPTIONS = """
    ALTER TABLE sessions ADD COLUMN interrupted_fence INTEGER NOT NULL DEFAULT 0
"""

_FIGURES = """
    CREATE TABLE figures (
        step INTEGER NOT NULL,
        at INTEGER NOT NULL,
        process TEXT NOT NULL,
        figures BLOB NOT NULL,
        PRIMARY KEY (step, at, process)
    ) WITHOUT ROWID
"""

MIGRATIONS = (
    _CONVERSATIONS,
    _ARCHIVE_AND_LIMITS + _SPENDING + _RECORDS,
    _INTERRUPTIONS,
    _FIGURES,
)


class NewerSchemaError(StartError):
    """The file was written by a newer release, which this one does not understand."""


def migrate(connection: sqlite3.Connection) -> None:
    """Bring the tables to this release's version; concurrent processes take turns.

    Nothing is written where nothing is missing: the volume may be full.
    """
    if _version(connection) == len(MIGRATIONS):
        return
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
