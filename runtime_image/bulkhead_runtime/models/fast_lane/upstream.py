"""One request to a provider, sent once, and the events of its answer."""

import ssl
import time
from typing import Any, Final

import orjson
from yarl import URL

from bulkhead_api.runtime_config import ProviderConfig
from bulkhead_runtime.models.errors import ModelError
from bulkhead_runtime.models.failures import Failures
from bulkhead_runtime.models.fast_lane.connection import Connection, ProtocolError
from bulkhead_runtime.models.fast_lane.connections import Connections
from bulkhead_runtime.models.fast_lane.events import EventReader
from bulkhead_runtime.models.fast_lane.failures import refused
from bulkhead_runtime.models.fast_lane.pool import Pool
from bulkhead_runtime.models.port import ByteRequest, Meter, ModelRequest

MAX_ERROR_BYTES: Final = 8_192
CONNECT_SECONDS: Final = 10
EVENT_STREAM: Final = "text/event-stream"

_BREAKS: Final = (OSError, ProtocolError)  # a TimeoutError is an OSError


class UpstreamStream:
    """The events of an answer that has begun; to be closed."""

    __slots__ = ("_connection", "_ends", "_events", "_pool", "_upstream")

    def __init__(self, upstream: "Upstream", pool: Pool, connection: Connection) -> None:
        self._upstream = upstream
        self._pool = pool
        self._connection = connection
        self._events = EventReader()
        self._ends = False

    async def read(self) -> bytes | None:
        """Return the events that one read completes, as they were sent, None at the end.

        Raises `ModelError`.
        """
        try:
            read = await self._connection.read()
        except _BREAKS as error:
            raise self._upstream.broken(error) from None
        if read:
            return self._events.whole(read)
        return self._events.rest() or None

    def settle(self) -> None:
        """Note that the last event was read, so that the connection may be kept."""
        self._ends = True

    def close(self) -> None:
        """End the call at once unless it has ended; a connection at its end is kept."""
        self._pool.release(self._connection, ends=self._ends)


class Upstream:
    """Calls the chat completions of one provider."""

    def __init__(
        self,
        provider: ProviderConfig,
        key: str | None,
        connections: Connections,
    ) -> None:
        url = URL((provider.base_url or "").rstrip("/"))
        self.failures = Failures(provider.name, key)
        self._timeout_seconds = provider.timeout_seconds
        self._pool = connections.pool(url)
        authorization = f"Authorization: Bearer {key}\r\n" if key else ""
        self._head = (
            f"POST {url.raw_path.rstrip('/')}/chat/completions HTTP/1.1\r\n"
            f"Host: {url.raw_authority}\r\n"
            "Content-Type: application/json\r\n"
            f"Accept: {EVENT_STREAM}\r\n"
            "Accept-Encoding: identity\r\n"
            f"{authorization}"
        ).encode()

    async def open(
        self, body: dict[str, Any], request: ModelRequest | ByteRequest, meter: Meter
    ) -> UpstreamStream:
        """Send a body for a request and return the stream that answers it; raise `ModelError`.

        `meter.sent` is True from the moment on at which the provider may want to be paid.
        """
        asked = self._request(body, request)
        connection = await self._connection(request.deadline, meter, new=False)
        if not await self._answers(connection, asked, request.deadline, meter):
            connection = await self._connection(request.deadline, meter, new=True)
            await self._answers(connection, asked, request.deadline, meter)
        if connection.status == 200 and _type_of(connection) == EVENT_STREAM:  # noqa: PLR2004
            return UpstreamStream(self, self._pool, connection)
        meter.sent = False
        try:
            raise await self._refusal(connection, str(body["model"]))
        finally:
            self._pool.release(connection, ends=False)

    def broken(self, error: Exception) -> ModelError:
        """Return the error for a call that broke."""
        if isinstance(error, TimeoutError):
            return self.failures.timeout(self._timeout_seconds)
        if isinstance(error, ProtocolError):
            return self.failures.garbage("what is no HTTP")
        return self.failures.unavailable("the connection broke")

    def _request(self, body: dict[str, Any], request: ModelRequest | ByteRequest) -> bytes:
        data = orjson.dumps(body)
        trace = f"traceparent: {request.traceparent}\r\n" if request.traceparent else ""
        return b"%s%sContent-Length: %d\r\n\r\n%s" % (self._head, trace.encode(), len(data), data)

    async def _answers(
        self, connection: Connection, asked: bytes, deadline: float, meter: Meter
    ) -> bool:
        """Send and wait for an answer; False where a kept connection had been closed meanwhile."""
        answered = False
        try:
            await connection.ask(
                asked, silence=self._timeout_seconds, seconds=deadline - time.monotonic()
            )
            answered = True
        except ConnectionError as error:
            if not connection.stale:
                meter.sent = False
                raise self.broken(error) from None
        except _BREAKS as error:
            # Whoever did not answer in time may be at work.
            meter.sent = isinstance(error, TimeoutError)
            raise self.broken(error) from None
        finally:
            if not answered:
                self._pool.release(connection, ends=False)
        return answered

    async def _connection(self, deadline: float, meter: Meter, *, new: bool) -> Connection:
        """Return a connection to send over; whom nobody reached is not at work."""
        left = deadline - time.monotonic()
        if left <= 0:
            raise self.failures.timeout(self._timeout_seconds)
        try:
            connection = await self._pool.acquire(
                min(left, CONNECT_SECONDS, self._timeout_seconds), new=new
            )
        except ssl.SSLCertVerificationError:
            raise self.failures.unavailable("its TLS certificate is not trusted") from None
        except TimeoutError:
            raise self.failures.unreachable("timeout") from None
        except OSError:
            raise self.failures.unreachable("unavailable") from None
        meter.sent = True
        return connection

    async def _refusal(self, connection: Connection, model: str) -> ModelError:
        if connection.status == 200:  # noqa: PLR2004
            return self.failures.garbage(f"{_type_of(connection)[:64]} instead of {EVENT_STREAM}")
        body = b""
        try:
            while len(body) < MAX_ERROR_BYTES and (read := await connection.read()):
                body += read
        except _BREAKS:
            body = b""
        headers = {"Retry-After": connection.headers.get(b"retry-after", b"").decode("latin-1")}
        return refused(self.failures, model, connection.status, headers, body[:MAX_ERROR_BYTES])


def _type_of(connection: Connection) -> str:
    """Return the media type of an answer, and how it is compressed where it is."""
    headers = connection.headers
    media_type = headers.get(b"content-type", b"").partition(b";")[0].strip().lower()
    encoding = headers.get(b"content-encoding", b"identity").strip().lower()
    told = media_type if encoding == b"identity" else encoding + b" of " + media_type
    return told.decode("latin-1")
