"""Calls one version's image: a request, a stream of events, whatever can go wrong with either.

Nothing that an image says is trusted: its events are decoded strictly, its answer is bounded by
what it was asked for, and closing the stream early ends the call at the image.
"""

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from decimal import Decimal
from typing import Final

import aiohttp
import msgspec
import orjson

from bulkhead_runtime.models.counting import input_bound
from bulkhead_runtime.models.failures import retry_after
from bulkhead_runtime.models.fast_lane.answer import (
    MAX_ANSWER_BYTES,
    MAX_TOKEN_BYTES,
    MAX_TOOL_CALLS,
    SPARE_BYTES,
)
from bulkhead_runtime.models.fast_lane.connections import Connections
from bulkhead_runtime.models.fast_lane.events import EventReader
from bulkhead_runtime.models.image_lane import wire
from bulkhead_runtime.models.image_lane.failures import ImageFailures
from bulkhead_runtime.models.port import (
    Finished,
    FinishReason,
    Meter,
    ModelRequest,
    Part,
    TextDelta,
    ToolCall,
    Usage,
)
from bulkhead_runtime.models.redaction import redacted

SILENT_SECONDS: Final = 60.0
"""How long an image may say nothing; a comment every few seconds says that it is at work."""

CONNECT_SECONDS: Final = 5.0
HEALTH_SECONDS: Final = 5.0
MAX_HEALTH_BYTES: Final = 4096
_CONNECT_PAUSES: Final = (0.1, 0.4, None)
_OK: Final = 200
_EVENT_STREAM: Final = "text/event-stream"


class ImageClient:
    """One version's image; `endpoint` is http://HOST:PORT. Implements `port.ModelClient`."""

    def __init__(
        self,
        endpoint: str,
        about: wire.About,
        connections: Connections,
        *,
        silent_seconds: float = SILENT_SECONDS,
    ) -> None:
        self._endpoint = endpoint.rstrip("/")
        self._about = about
        self._connections = connections
        self._silent_seconds = silent_seconds
        self._failures = ImageFailures(about.package, about.version)

    async def health(self) -> None:
        """Return when the image says that it can work; raise `ModelError` where it does not."""
        timeout = aiohttp.ClientTimeout(total=HEALTH_SECONDS, sock_connect=CONNECT_SECONDS)
        url = self._endpoint + wire.HEALTH_PATH
        try:
            async with self._connections.new_session().get(
                url, timeout=timeout, allow_redirects=False
            ) as response:
                body = await response.content.read(MAX_HEALTH_BYTES)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise self._failures.broken(error, HEALTH_SECONDS) from None
        if response.status != _OK:
            raise self._failures.answered(response.status, None)
        try:
            wire.health_decoder.decode(body)
        except msgspec.DecodeError:
            raise self._failures.garbage('something else than {"status": "ok"}') from None

    async def stream(self, request: ModelRequest, meter: Meter) -> AsyncGenerator[Part, None]:
        """Yield the parts of the answer as they arrive; raise `ModelError` when it fails.

        Closing the iterator closes the connection, which tells the image to stop.
        """
        answer = _Answer(self._failures, request)
        try:
            async with self._opened(request, meter) as response:
                events = EventReader()
                while answer.finished is None and (read := await self._read(response)):
                    for data in events.feed(read):
                        text = answer.take(data)
                        if text is not None:
                            meter.begun = True
                            yield text
                if answer.finished is None:
                    raise self._failures.cut()
        finally:
            if meter.sent:
                meter.usage = answer.usage
        for call in answer.calls:
            yield call
        yield answer.usage
        yield Finished(answer.reason, f"package/{self._about.package}")

    @asynccontextmanager
    async def _opened(
        self, request: ModelRequest, meter: Meter
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        response = await self._post(request, meter)
        try:
            if response.status != _OK:
                meter.sent = False
                raise self._failures.answered(response.status, retry_after(response.headers))
            if response.content_type != _EVENT_STREAM:
                raise self._failures.garbage(f"{response.content_type[:64]} for {_EVENT_STREAM}")
            yield response
        finally:
            response.close()

    async def _post(self, request: ModelRequest, meter: Meter) -> aiohttp.ClientResponse:
        """Send the request, again where nobody could be reached: nothing was begun then."""
        headers = {"Content-Type": "application/json", "Accept": _EVENT_STREAM}
        if request.traceparent is not None:
            headers["traceparent"] = request.traceparent
        for pause in _CONNECT_PAUSES:
            left = request.deadline - time.monotonic()
            meter.sent = True
            try:
                response = await self._connections.new_session().post(
                    self._endpoint + wire.EXECUTE_PATH,
                    data=orjson.dumps(wire.body_of(request, self._about, left)),
                    headers=headers,
                    timeout=self._timeout(left),
                    allow_redirects=False,
                )
            except aiohttp.ClientConnectorError as error:
                meter.sent = False
                if pause is None:
                    raise self._failures.broken(error, self._silent_seconds) from None
                await asyncio.sleep(pause)
            except (aiohttp.ClientError, TimeoutError, OSError) as error:
                raise self._failures.broken(error, self._silent_seconds) from None
            else:
                return response
        raise AssertionError  # the last pause is None

    async def _read(self, response: aiohttp.ClientResponse) -> bytes:
        try:
            return await response.content.readany()
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise self._failures.broken(error, self._silent_seconds) from None

    def _timeout(self, left: float) -> aiohttp.ClientTimeout:
        return aiohttp.ClientTimeout(
            total=max(0.001, left),
            sock_connect=CONNECT_SECONDS,
            sock_read=self._silent_seconds,
        )


class _Answer:
    """Collects one answer within its bounds."""

    def __init__(self, failures: ImageFailures, request: ModelRequest) -> None:
        self.calls: list[ToolCall] = []
        self.finished: FinishReason | None = None
        self._failures = failures
        self._request = request
        self._bytes = 0
        self._limit = min(
            MAX_ANSWER_BYTES, SPARE_BYTES + request.max_output_tokens * MAX_TOKEN_BYTES
        )
        self._used: wire.Used | None = None

    @property
    def reason(self) -> FinishReason:
        """Return why the answer ended; calls count for more than the image's word."""
        return "tool_calls" if self.calls else self.finished or "stop"

    @property
    def usage(self) -> Usage:
        """Return what the image says that it used, else the most that it can have been."""
        used = self._used
        if used is None:
            output = min(self._bytes, self._request.max_output_tokens)
            return Usage(input_bound(self._request), output, None, estimated=True)
        cost = None if used.cost is None else Decimal(used.cost)
        return Usage(used.input_tokens, used.output_tokens, cost)

    def take(self, data: bytes) -> TextDelta | None:
        """Take one event and return the text in it; raise `ModelError`."""
        if self.finished is not None:
            return None
        match self._decoded(data):
            case wire.Text(text):
                self._count(text)
                return TextDelta(text) if text else None
            case wire.Call(identifier, name, arguments):
                written = (
                    arguments if isinstance(arguments, str) else orjson.dumps(arguments).decode()
                )
                self._count(written)
                if len(self.calls) >= MAX_TOOL_CALLS:
                    raise self._failures.garbage(f"more than {MAX_TOOL_CALLS} tool calls")
                self.calls.append(ToolCall(identifier, name, written))
            case wire.Used() as used:
                self._used = used
            case wire.Failed(message):
                raise self._failures.gave_up(message)
            case wire.Done(reason):
                self.finished = reason
        return None

    def _decoded(self, data: bytes) -> wire.Event:
        try:
            event: wire.Event = wire.event_decoder.decode(data)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise self._failures.garbage(f"an event with {redacted(error, None)}") from None
        return event

    def _add(self, call: ToolCall) -> None:
        self._count(call.arguments)
        if len(self.calls) >= MAX_TOOL_CALLS:
            raise self._failures.garbage(f"more than {MAX_TOOL_CALLS} tool calls")
        self.calls.append(call)

    def _count(self, text: str) -> None:
        self._bytes += len(text.encode())
        if self._bytes > self._limit:
            raise self._failures.too_long(self._limit)
