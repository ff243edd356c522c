"""Conversations in SQLite with the runtime's guarantees: WAL, synchronous FULL, append and tail."""

import sqlite3
import threading
from pathlib import Path
from typing import Any

TAIL = 50

_SCHEMA = """
CREATE TABLE IF NOT EXISTS messages (
    id INTEGER PRIMARY KEY,
    session TEXT NOT NULL,
    role TEXT NOT NULL,
    content TEXT NOT NULL,
    tokens INTEGER NOT NULL
);
CREATE INDEX IF NOT EXISTS messages_by_session ON messages (session, id);
"""


class TurnStore:
    """Called from a thread pool; each thread keeps its own connection open."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._local = threading.local()
        self._connection().executescript(_SCHEMA)

    def tail(self, session: str) -> list[dict[str, Any]]:
        """Return the newest messages of a session, oldest first."""
        rows = self._connection().execute(
            "SELECT role, content FROM messages WHERE session = ? ORDER BY id DESC LIMIT ?",
            (session, TAIL),
        )
        return [{"role": role, "content": content} for role, content in reversed(rows.fetchall())]

    def append(self, session: str, question: str, answer: str, tokens: int) -> None:
        """Store one turn; it is on disk when this returns."""
        connection = self._connection()
        with connection:
            connection.executemany(
                "INSERT INTO messages (session, role, content, tokens) VALUES (?, ?, ?, ?)",
                [(session, "user", question, 0), (session, "assistant", answer, tokens)],
            )

    def _connection(self) -> sqlite3.Connection:
        connection: sqlite3.Connection | None = getattr(self._local, "connection", None)
        if connection is None:
            connection = sqlite3.connect(self._path, timeout=30)
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute("PRAGMA synchronous=FULL")
            self._local.connection = connection
        return connection
