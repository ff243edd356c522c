"""A pool of HTTP/1.1 connections to one server; an exchange has a connection to itself.

A general HTTP client takes five times the CPU for the same exchange, and a new organization is
eighteen of them (docs/design/0004). So there is only what an API server's answers need: no
redirects, no cookies, no compression, no proxies. The parser is llhttp.
"""

import asyncio
import ssl
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, NamedTuple, cast
from urllib.parse import urlsplit

import httptools

CONNECT_SECONDS: Final = 5.0
IDLE_SECONDS: Final = 60.0
"""An API server closes what was idle for a little longer."""
LONGEST_ANSWER: Final = 2**28
"""The longest page of a list is a fifth of it; this bounds what a broken server makes us keep."""


class Answer(NamedTuple):
    """What came back."""

    status: int
    content: bytes
    retry_after: str | None


class NoAnswerError(Exception):
    """The exchange ended without an answer; `sent` tells whether the server may have acted."""

    def __init__(self, why: BaseException, *, sent: bool) -> None:
        super().__init__(f"no answer ({type(why).__name__})")
        self.sent = sent


class ProtocolError(Exception):
    """The server said something that is no HTTP, too long, or unasked."""


class _Connection(asyncio.Protocol):
    """One connection; the parser calls the methods that begin with `on_`."""

    def __init__(self, longest: int) -> None:
        self._longest = longest
        self._transport: asyncio.Transport | None = None
        self._answer: asyncio.Future[Answer] | None = None
        self._parser = httptools.HttpResponseParser(self)
        self._parts: list[bytes] = []
        self._length = 0
        self._retry_after: str | None = None
        self.idle_since = 0.0

    def open(self) -> bool:
        """Tell whether another exchange can begin."""
        return self._transport is not None and not self._transport.is_closing()

    async def exchange(self, request: bytes) -> Answer:
        """Send a request and return its answer; raises what ended the connection before."""
        assert self._transport is not None
        answer: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._answer = answer
        self._transport.write(request)
        return await answer

    def drop(self) -> None:
        """End the connection, whatever is under way."""
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # Not an instance of it: uvloop's transports are of no class of asyncio's.
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        if self._answer is None:
            self.drop()
            return
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, ProtocolError) as error:
            self._fail(error)

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._fail(exc or ConnectionResetError("closed by the server"))

    def on_header(self, name: bytes, value: bytes) -> None:
        if name.lower() == b"retry-after":
            self._retry_after = value.decode("latin-1")

    def on_body(self, body: bytes) -> None:
        self._length += len(body)
        if self._length > self._longest:
            raise ProtocolError(f"an answer of over {self._longest} bytes")
        self._parts.append(body)

    def on_message_complete(self) -> None:
        answer, self._answer = self._answer, None
        status = self._parser.get_status_code()
        content = self._parts[0] if len(self._parts) == 1 else b"".join(self._parts)
        complete = Answer(status, content, self._retry_after)
        self._parts, self._length, self._retry_after = [], 0, None
        if not self._parser.should_keep_alive() and self._transport is not None:
            self._transport.close()
        if answer is not None and not answer.done():
            answer.set_result(complete)

    def _fail(self, error: BaseException) -> None:
        answer, self._answer = self._answer, None
        self.drop()
        if answer is not None and not answer.done():
            answer.set_exception(error)


@dataclass(frozen=True, slots=True)
class _Place:
    host: str
    port: int
    prefix: str
    authority: str


class Connections:
    """At most `limit` connections to the server of a URL; the one used last is used first."""

    def __init__(
        self,
        url: str,
        tls: ssl.SSLContext,
        *,
        limit: int,
        headers: str = "",
        longest: int = LONGEST_ANSWER,
    ) -> None:
        """Send `headers`, whole lines, with every request."""
        parts = urlsplit(url)
        secure = parts.scheme == "https"
        self._place = _Place(
            parts.hostname or "",
            parts.port or (443 if secure else 80),
            parts.path.rstrip("/"),
            f"Host: {parts.netloc}\r\n{headers}",
        )
        self._tls = tls if secure else None
        self._longest = longest
        self._free = asyncio.Semaphore(limit)
        self._idle: deque[_Connection] = deque()

    async def exchange(
        self,
        method: str,
        target: str,
        headers: str,
        body: bytes | None,
        *,
        seconds: float,
        fence: Callable[[], object] | None = None,
    ) -> Answer:
        """Send a request and return its answer, within `seconds`, waiting included.

        `target` and `headers` (whole lines) go out as they are, so they must be encoded. Raises
        `NoAnswerError`, and what `fence` raises when it is asked right before the sending.
        """
        length = "" if body is None else f"Content-Length: {len(body)}\r\n"
        head = f"{method} {self._place.prefix}{target} HTTP/1.1\r\n{self._place.authority}"
        request = f"{head}{headers}{length}\r\n".encode() + (body or b"")
        sent = False
        connection: _Connection | None = None
        try:
            async with asyncio.timeout(seconds), self._free:
                connection = self._reused() or await self._connected()
                if fence is not None:
                    fence()
                sent = True
                answer = await connection.exchange(request)
        except (OSError, TimeoutError, httptools.HttpParserError, ProtocolError) as error:
            raise NoAnswerError(error, sent=sent) from error
        else:
            self._keep(connection)
            connection = None
            return answer
        finally:
            # Cancelled, or out of time: what still comes would be taken for the next answer.
            if connection is not None:
                connection.drop()

    def close(self) -> None:
        """End every connection that is not at work."""
        for connection in self._idle:
            connection.drop()
        self._idle.clear()

    def _reused(self) -> _Connection | None:
        self._drop_stale()
        while self._idle:
            connection = self._idle.pop()
            if connection.open():
                return connection
        return None

    def _keep(self, connection: _Connection) -> None:
        if connection.open():
            connection.idle_since = time.monotonic()
            self._idle.append(connection)
        self._drop_stale()

    def _drop_stale(self) -> None:
        """End what a busier time left behind: each holds buffers here and at the server."""
        oldest = time.monotonic() - IDLE_SECONDS
        while self._idle and self._idle[0].idle_since < oldest:
            self._idle.popleft().drop()

    async def _connected(self) -> _Connection:
        place = self._place
        async with asyncio.timeout(CONNECT_SECONDS):
            _, connection = await asyncio.get_running_loop().create_connection(
                lambda: _Connection(self._longest), place.host, place.port, ssl=self._tls
            )
        return connection
