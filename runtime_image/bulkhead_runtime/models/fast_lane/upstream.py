"""One request to a provider, tried again until its stream begins, where that is safe.

Until the first byte of an answer nothing has reached the caller, so a busy or unreachable
provider is asked again; a timeout is not, because the first call may still be paid for.
"""

import asyncio
import random
import time
from dataclasses import dataclass
from typing import Any, Final

import aiohttp
import orjson

from bulkhead_api.runtime_config import ProviderConfig
from bulkhead_runtime.models.errors import ModelError
from bulkhead_runtime.models.failures import Failures
from bulkhead_runtime.models.fast_lane.connections import Connections
from bulkhead_runtime.models.fast_lane.events import EventReader
from bulkhead_runtime.models.fast_lane.failures import broken, refused

MAX_ERROR_BYTES: Final = 8_192
CONNECT_SECONDS: Final = 10
EVENT_STREAM: Final = "text/event-stream"

_TAIL_SECONDS: Final = 0.25
"""A connection whose end is not seen this soon after the last event is closed, not kept."""

_TRY_AGAIN: Final = frozenset({429, 500, 502, 503, 504})


@dataclass(frozen=True, slots=True)
class Retries:
    """How often and how long a call that has not begun is tried again."""

    attempts: int = 2
    first_wait_seconds: float = 0.25
    longest_wait_seconds: float = 5.0


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
            self.close()

    def close(self) -> None:
        """End the call at once unless it has ended; a connection at its end is kept."""
        self._response.close()


class Upstream:
    """Calls the chat completions of one provider."""

    def __init__(
        self,
        provider: ProviderConfig,
        key: str | None,
        connections: Connections,
        retries: Retries,
    ) -> None:
        base_url = (provider.base_url or "").rstrip("/")
        self.failures = Failures(provider.name, key)
        self._timeout_seconds = provider.timeout_seconds
        self._url = f"{base_url}/chat/completions"
        self._connections = connections
        self._retries = retries
        self._headers = {
            "Content-Type": "application/json",
            "Accept": EVENT_STREAM,
            "Accept-Encoding": "identity",
        }
        if key:
            self._headers["Authorization"] = f"Bearer {key}"

    async def open(self, body: dict[str, Any], deadline: float) -> UpstreamStream:
        """Return the stream of an answer that begins; the caller closes it.

        `deadline` is a time of `time.monotonic()`. Raises `ModelError`.
        """
        data = orjson.dumps(body)
        attempt = 0
        while True:
            try:
                response = await self._once(data, str(body["model"]), deadline)
                return UpstreamStream(response, self.failures, self._timeout_seconds)
            except ModelError as error:
                wait = self._wait_before(attempt, error, deadline)
                if wait is None:
                    raise
            attempt += 1
            await asyncio.sleep(wait)

    async def _once(self, data: bytes, model: str, deadline: float) -> aiohttp.ClientResponse:
        try:
            response = await self._connections.session().post(
                self._url,
                data=data,
                headers=self._headers,
                timeout=self._timeout(deadline),
                allow_redirects=False,
            )
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise broken(self.failures, error, self._timeout_seconds) from None
        if response.status == 200 and response.content_type == EVENT_STREAM:  # noqa: PLR2004
            return response
        try:
            raise await self._refusal(response, model)
        finally:
            response.close()

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

    def _wait_before(self, attempt: int, error: ModelError, deadline: float) -> float | None:
        """Return the seconds until the next attempt, None where there is none."""
        transient = error.status in _TRY_AGAIN or (
            error.status is None and error.kind == "unavailable"
        )
        if not transient or attempt >= self._retries.attempts:
            return None
        wait = self._retries.first_wait_seconds * 2**attempt * random.uniform(0.5, 1)  # noqa: S311
        wait = max(wait, error.retry_after or 0)
        fits = wait <= self._retries.longest_wait_seconds and time.monotonic() + wait < deadline
        return wait if fits else None
