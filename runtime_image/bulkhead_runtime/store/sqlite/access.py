"""How the parts of the embedded store reach the file.

Short reads go straight to it from the event loop's thread (tens of microseconds, never waiting
for a writer in WAL mode), long ones from a thread of their own, writes through the one writer.
"""

import asyncio
import logging
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from bulkhead_runtime.store.sqlite import database
from bulkhead_runtime.store.sqlite.writer import GroupWriter, as_problem, damaged

log = logging.getLogger(__name__)

Result = TypeVar("Result")
Query = Callable[[sqlite3.Connection], Result]


class FileAccess:
    """Reads and writes one directory's file; opened and closed within one event loop."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._reader = database.connect_reader(directory)
        self.corrupt = False
        """True once SQLite said that the file is damaged; only a restart helps."""
        self.writer = GroupWriter(database.connect_writer(directory), self._failed)

    async def close(self) -> None:
        """Finish what is being written and let go of the file."""
        await self.writer.close()
        self._reader.close()

    def read(self, query: Query[Result]) -> Result:
        """Run a short query; raise a 503 `Problem` when the file cannot be read."""
        return self._run(query, self._reader)

    async def scan(self, query: Query[Result]) -> Result:
        """Run a query that reads many rows, without holding the event loop up."""
        return await asyncio.to_thread(self._scan, query)

    def _scan(self, query: Query[Result]) -> Result:
        connection = database.connect_reader(self.directory)
        try:
            return self._run(query, connection)
        finally:
            connection.close()

    def _run(self, query: Query[Result], connection: sqlite3.Connection) -> Result:
        if self.corrupt:
            raise damaged()
        try:
            return query(connection)
        except sqlite3.Error as error:
            self._failed(error)
            raise as_problem(error) from error

    def _failed(self, error: BaseException) -> None:
        if database.is_corrupt(error):
            self.corrupt = True
        log.error("Conversation store failed", extra={"reason": str(error)})


def now() -> int:
    """Return the time in Unix milliseconds."""
    return time.time_ns() // 1_000_000
