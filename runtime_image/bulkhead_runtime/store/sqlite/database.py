"""Opens the database file, and sets aside one that is damaged instead of serving it."""

import fcntl
import logging
import shutil
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bulkhead_runtime.store.sqlite import event_rows, ledger, schema

log = logging.getLogger(__name__)

FILE = "sessions.db"
_LOCK_FILE = "sessions.open.lock"
_COMPANIONS = ("-wal", "-shm")
EVENTS_SHARE = 8
LEDGER_SHARE = 16
"""What parts of the volume events and ledger may take; the pool takes half by default."""

_INCREMENTAL = 2

_WRITE_BUSY_SECONDS = 5.0
_READ_BUSY_SECONDS = 0.25
"""Readers run on the event loop's thread, where waiting for a lock would stall every stream."""

_CORRUPT_CODES = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})


def is_corrupt(error: BaseException) -> bool:
    """Tell whether SQLite said that the file is damaged."""
    return primary_code(error) in _CORRUPT_CODES


def primary_code(error: BaseException) -> int:
    """Return SQLite's primary result code of an error, 0 where it carries none."""
    return (getattr(error, "sqlite_errorcode", None) or 0) & 0xFF


def prepare(directory: Path) -> Path | None:
    """Make or migrate the database; return where a damaged one was set aside, if it was."""
    directory.mkdir(parents=True, exist_ok=True)
    with _exclusively(directory):
        path = directory / FILE
        set_aside = None
        if path.exists() and _damaged(path):
            set_aside = _set_aside(path)
        connection = connect_writer(directory)
        try:
            schema.migrate(connection)
            _bound_records(connection, directory)
        finally:
            connection.close()
        return set_aside


def connect_writer(directory: Path) -> sqlite3.Connection:
    """Return the connection of the one thread that writes."""
    connection = sqlite3.connect(
        directory / FILE,
        timeout=_WRITE_BUSY_SECONDS,
        isolation_level=None,
        check_same_thread=False,
        cached_statements=64,
    )
    # Said again it would be written again.
    if connection.execute("PRAGMA auto_vacuum").fetchone() != (_INCREMENTAL,):
        connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA journal_size_limit = 16777216")
    # What savepoints keep to take work back: a file of their own would be written in every batch.
    connection.execute("PRAGMA temp_store = MEMORY")
    ledger.prepare(connection)
    return connection


def connect_reader(directory: Path) -> sqlite3.Connection:
    """Return a connection that cannot write."""
    connection = sqlite3.connect(
        directory / FILE, timeout=_READ_BUSY_SECONDS, isolation_level=None, cached_statements=64
    )
    connection.execute("PRAGMA query_only = ON")
    ledger.prepare(connection)
    return connection


def _bound_records(connection: sqlite3.Connection, directory: Path) -> None:
    """Keep as many events and ledger lines as their share of the volume holds, up to a maximum."""
    volume = shutil.disk_usage(directory).total
    kept = (
        min(event_rows.MAX_EVENTS, volume // EVENTS_SHARE // event_rows.EVENT_BYTES),
        min(ledger.MAX_LINES, volume // LEDGER_SHARE // ledger.LINE_BYTES),
    )
    connection.execute(
        "UPDATE pool SET kept_events = ?1, kept_lines = ?2 "
        "WHERE (kept_events, kept_lines) <> (?1, ?2)",
        kept,
    )


def _damaged(path: Path) -> bool:
    try:
        connection = sqlite3.connect(path, timeout=_WRITE_BUSY_SECONDS)
        try:
            (verdict,) = connection.execute("PRAGMA quick_check(1)").fetchone()
        finally:
            connection.close()
    except sqlite3.DatabaseError as error:
        if not is_corrupt(error):
            raise
        return True
    return bool(verdict != "ok")


def _set_aside(path: Path) -> Path:
    target = path.with_name(f"{path.name}.corrupt-{time.time_ns()}")
    path.rename(target)
    for suffix in _COMPANIONS:
        companion = path.with_name(path.name + suffix)
        if companion.exists():
            companion.rename(target.with_name(target.name + suffix))
    log.error("Damaged conversation store set aside", extra={"file": target.name})
    return target


@contextmanager
def _exclusively(directory: Path) -> Iterator[None]:
    with (directory / _LOCK_FILE).open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
