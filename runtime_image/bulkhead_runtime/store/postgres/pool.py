"""Connections to PostgreSQL: opened when they are needed, closed when they are not.

One stays while work that has begun is expected to ask again: on a new connection the end of a turn
takes PostgreSQL ten times as long, which proves a password and plans every statement anew.

Every question is one message and one answer outside any session state (no prepared statement, no
SET, no LISTEN), so PgBouncer may give every question another server connection. A question that
cannot get a connection in time is refused; nothing waits without bound.
"""

import asyncio
import logging
import select
import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import psycopg
from psycopg import AsyncConnection
from psycopg.errors import error_from_result
from psycopg.generators import execute
from psycopg.pq import ExecStatus

from bulkhead_runtime import errors

log = logging.getLogger(__name__)

Answer = TypeVar("Answer")

COMMAND_SECONDS = 20.0
"""Shorter than leases hold: an answer that comes later is about work that was given up."""

CONNECT_SECONDS = 5
WAIT_SECONDS = 5.0
IDLE_SECONDS = 2.0
"""How long a connection stays open for the next question."""

MAX_WAITING = 1000

_DISK_FULL = "53100"
_ONLY_READS = "25006"
"""What a server says that has handed over to another; the next connection finds that one."""

_NOT_THERE = frozenset({"3F000", "42P01", "42883", "42703"})
"""No such schema, table, function or column."""

UNPREPARED = "store_unprepared"


class Pool:
    """At most `maximum` connections with the DSN that `dsn` returns at the time of connecting."""

    def __init__(
        self,
        dsn: Callable[[], str],
        maximum: int,
        *,
        idle_seconds: float = IDLE_SECONDS,
        wait_seconds: float = WAIT_SECONDS,
    ) -> None:
        self._dsn = dsn
        self._maximum = maximum
        self._idle_seconds = idle_seconds
        self._wait_seconds = wait_seconds
        self._used = 0
        self._idle: deque[tuple[AsyncConnection, float]] = deque()
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._expected: dict[str, int] = {}
        self._reaper: asyncio.TimerHandle | None = None
        self._closed = False

    async def ask(
        self, question: str, values: Sequence[Any] | Mapping[str, Any] = ()
    ) -> list[tuple[Any, ...]]:
        """Return the rows that answer one statement, which is a transaction of its own.

        Raises a 503 `Problem` when the answer cannot be had, with `retry_after` where that may
        pass, and a 507 when the disk is full; then the statement may have been executed or not.
        """

        async def rows(connection: AsyncConnection) -> list[tuple[Any, ...]]:
            cursor = await connection.execute(question, values, prepare=False, binary=True)
            return await cursor.fetchall()

        return await self._answer(rows)

    async def value(self, question: bytes, values: Sequence[bytes]) -> bytes | None:
        """Return the one value that answers one statement about $1, $2, ...; raises as `ask` does.

        What goes and comes is the text that PostgreSQL reads and writes: for questions of every
        turn, whose documents are worth no conversion and a third of the time is one.
        """
        if any(b"\0" in value for value in values):
            raise _invalid_text()

        async def value_of(connection: AsyncConnection) -> bytes | None:
            connection.pgconn.send_query_params(question, values)
            result, *_ = await connection.wait(execute(connection.pgconn))
            if result.status != ExecStatus.TUPLES_OK:
                raise error_from_result(result)
            value: bytes | None = result.get_value(0, 0)
            return value

        return await self._answer(value_of)

    async def _answer(self, asked: Callable[[AsyncConnection], Awaitable[Answer]]) -> Answer:
        async with self._connection() as connection:
            try:
                async with asyncio.timeout(COMMAND_SECONDS):
                    return await asked(connection)
            except psycopg.Error as error:
                raise _problem(error) from error
            except TimeoutError as error:
                raise errors.store_unavailable("PostgreSQL did not answer in time.") from error

    def expect(self, work: str, until: int) -> None:
        """Keep one connection for work that asks again: until `forget`, or until that time.

        The time is in Unix milliseconds.
        """
        self._expected[work] = until

    def forget(self, work: str) -> None:
        """Keep nothing for that work any more."""
        self._expected.pop(work, None)

    async def close(self) -> None:
        """Close what is idle now and what is in use when it is given back."""
        self._closed = True
        if self._reaper is not None:
            self._reaper.cancel()
        while self._idle:
            await self._idle.pop()[0].close()

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[AsyncConnection]:
        await self._take_place()
        try:
            connection = self._pop_idle() or await self._connect()
            try:
                yield connection
            except BaseException:
                # Whatever state it is in, the next question shall not find out.
                connection.pgconn.finish()
                raise
            self._give_back(connection)
        finally:
            self._used -= 1
            self._wake_next()

    async def _take_place(self) -> None:
        if self._used < self._maximum and not self._waiting:
            self._used += 1
            return
        if len(self._waiting) >= MAX_WAITING:
            raise errors.store_unavailable("Too much waits for PostgreSQL already.")
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        try:
            async with asyncio.timeout(self._wait_seconds):
                await turn
        except BaseException as error:
            if turn.done() and not turn.cancelled():
                self._used -= 1
                self._wake_next()
            if isinstance(error, TimeoutError):
                raise errors.store_unavailable(
                    f"All {self._maximum} connections to PostgreSQL are in use "
                    "(spec.storage.postgres.maxConnections)."
                ) from error
            raise

    def _wake_next(self) -> None:
        while self._waiting and self._used < self._maximum:
            turn = self._waiting.popleft()
            if not turn.done():
                self._used += 1
                turn.set_result(None)

    def _pop_idle(self) -> AsyncConnection | None:
        while self._idle:
            connection, _ = self._idle.pop()
            if _quiet(connection):
                return connection
            connection.pgconn.finish()
        return None

    async def _connect(self) -> AsyncConnection:
        try:
            return await AsyncConnection.connect(
                self._dsn(),
                autocommit=True,
                prepare_threshold=None,
                connect_timeout=CONNECT_SECONDS,
                application_name="bulkhead-runtime",
                client_encoding="utf8",
            )
        except psycopg.Error as error:
            raise _problem(error) from error

    def _give_back(self, connection: AsyncConnection) -> None:
        if self._closed:
            connection.pgconn.finish()
            return
        self._idle.append((connection, time.monotonic()))
        if self._reaper is None:
            self._reap_in(self._idle_seconds)

    def _reap_in(self, seconds: float) -> None:
        self._reaper = asyncio.get_running_loop().call_later(seconds, self._reap)

    def _reap(self) -> None:
        """Close what was not used for a while; the longest unused is first."""
        self._reaper = None
        now = time.time_ns() // 1_000_000
        self._expected = {work: until for work, until in self._expected.items() if until > now}
        kept = 1 if self._expected else 0
        oldest = time.monotonic() - self._idle_seconds
        while len(self._idle) > kept and self._idle[0][1] <= oldest:
            self._idle.popleft()[0].pgconn.finish()
        if self._idle:
            due = self._idle[0][1] - oldest
            self._reap_in(due if due > 0 else self._idle_seconds)


def _quiet(connection: AsyncConnection) -> bool:
    """Tell whether an idle connection is still open: a closed one has its end to be read."""
    if connection.closed:
        return False
    poll = select.poll()
    poll.register(connection.pgconn.socket, select.POLLIN)
    return not poll.poll(0)


def _problem(error: psycopg.Error) -> errors.Problem:
    """Return what a client may know; the log tells the operator more."""
    if error.sqlstate == _DISK_FULL:
        return errors.store_full()
    if isinstance(error, psycopg.DataError) and error.sqlstate is None:
        return _invalid_text()
    if error.sqlstate in _NOT_THERE:
        return errors.Problem(
            503,
            UNPREPARED,
            "PostgreSQL lacks tables that this release needs: run `python -m "
            "bulkhead_runtime.store.postgres migrate`.",
        )
    # About a readable DSN libpq's messages name host, role and reason, never the password.
    log.warning(
        "PostgreSQL failed",
        extra={"state": error.sqlstate, "reason": " ".join(str(error).split())},
    )
    passes = isinstance(error, psycopg.OperationalError) or error.sqlstate == _ONLY_READS
    return errors.store_unavailable(
        "The conversation store could not be read or written.", retry_after=1 if passes else None
    )


def _invalid_text() -> errors.Problem:
    return errors.Problem(422, "invalid_text", "Text must not contain NUL characters.")
