"""One request to a provider, sent once, and the events of its answer."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

import aiohttp
import orjson

from bulkhead_api.runtime_config import ProviderConfig
from bulkhead_runtime.models.errors import ModelError
from bulkhead_runtime.models.failures import Failures
from bulkhead_runtime.models.fast_lane.connections import Connections
from bulkhead_runtime.models.fast_lane.events import EventReader
from bulkhead_runtime.models.fast_lane.failures import broken, refused
from bulkhead_runtime.models.port import ByteRequest, Meter, ModelRequest

MAX_ERROR_BYTES: Final = 8_192
CONNECT_SECONDS: Final = 10
EVENT_STREAM: Final = "text/event-stream"

_TAIL_SECONDS: Final = 0.25
"""A connection whose end is not seen this soon after the last event is closed, not kept."""


class UpstreamStream:
    """The events of an answer that has begun."""

    def __init__(
        self, response: aiohttp.ClientResponse, failures: Failures, timeout_seconds: float
    ) -> None:
        self._response = response
        self._failures = failures
        self._timeout_seconds = timeout_seconds
        self._events = EventReader()

    async def read(self) -> list[bytes] | None:
        """Return the events that one read completes, None at the end; raise `ModelError`."""
        try:
            read = await self._response.content.readany()
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise broken(self._failures, error, self._timeout_seconds) from None
        if read:
            return self._events.feed(read)
        return self._events.finish() or None

    async def settle(self) -> None:
        """Wait a moment for the end after the last event, so that the connection can be kept."""
        try:
            async with asyncio.timeout(_TAIL_SECONDS):
                while await self._response.content.readany():
                    pass
        except (aiohttp.ClientError, TimeoutError, OSError):
            self._response.close()


class Upstream:
    """Calls the chat completions of one provider."""

    def __init__(
        self,
        provider: ProviderConfig,
        key: str | None,
        connections: Connections,
    ) -> None:
        base_url = (provider.base_url or "").rstrip("/")
        self.failures = Failures(provider.name, key)
        self._timeout_seconds = provider.timeout_seconds
        self._url = f"{base_url}/chat/completions"
        self._connections = connections
        self._headers = {
            "Content-Type": "application/json",
            "Accept": EVENT_STREAM,
            "Accept-Encoding": "identity",
        }
        if key:
            self._headers["Authorization"] = f"Bearer {key}"

    @asynccontextmanager
    async def open(
        self, body: dict[str, Any], request: ModelRequest | ByteRequest, meter: Meter
    ) -> AsyncIterator[UpstreamStream]:
        """Send a body for a request and hold its stream while it is read; raise `ModelError`.

        `meter.sent` is True from the moment on at which the provider may want to be paid.
        """
        response = await self._post(body, request, meter)
        try:
            yield UpstreamStream(response, self.failures, self._timeout_seconds)
        finally:
            # Ends the call at once unless it has ended; a connection at its end is kept.
            response.close()

    async def _post(
        self, body: dict[str, Any], request: ModelRequest | ByteRequest, meter: Meter
    ) -> aiohttp.ClientResponse:
        data = orjson.dumps(body)
        try:
            response = await self._sent(data, request, meter)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            failure = broken(self.failures, error, self._timeout_seconds)
            # Whoever did not answer in time may be at work; whom nobody reached is not.
            reached = not isinstance(error, aiohttp.ConnectionTimeoutError)
            meter.sent = meter.sent and failure.kind == "timeout" and reached
            raise failure from None
        if response.status == 200 and response.content_type == EVENT_STREAM:  # noqa: PLR2004
            return response
        meter.sent = False
        try:
            raise await self._refusal(response, str(body["model"]))
        finally:
            response.close()

    async def _sent(
        self, data: bytes, request: ModelRequest | ByteRequest, meter: Meter
    ) -> aiohttp.ClientResponse:
        """Send over a kept connection, and once more over a new one where the kept was closed."""
        headers = self._headers_of(request)
        for session in (self._connections.session, self._connections.new_session):
            timeout = self._timeout(request.deadline)
            meter.sent = True
            try:
                return await session().post(
                    self._url, data=data, headers=headers, timeout=timeout, allow_redirects=False
                )
            except aiohttp.ClientConnectorError:
                raise
            except (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError) as error:
                closed = error
        raise closed

    def _headers_of(self, request: ModelRequest | ByteRequest) -> dict[str, str]:
        if request.traceparent is None:
            return self._headers
        return {**self._headers, "traceparent": request.traceparent}

    async def _refusal(self, response: aiohttp.ClientResponse, model: str) -> ModelError:
        if response.status == 200:  # noqa: PLR2004
            return self.failures.garbage(f"{response.content_type[:64]} instead of {EVENT_STREAM}")
        try:
            body = await response.content.read(MAX_ERROR_BYTES)
        except (aiohttp.ClientError, TimeoutError):
            body = b""
        return refused(self.failures, model, response.status, response.headers, body)

    def _timeout(self, deadline: float) -> aiohttp.ClientTimeout:
        left = deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        return aiohttp.ClientTimeout(
            total=left,
            sock_connect=min(CONNECT_SECONDS, self._timeout_seconds),
            sock_read=self._timeout_seconds,
        )
