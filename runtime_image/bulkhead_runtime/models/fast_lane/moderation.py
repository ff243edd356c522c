"""Asks a provider's /moderations whether a text is harmful."""

import time
from typing import Any, Final

import aiohttp
import orjson

from bulkhead_api.runtime_config import ProviderConfig
from bulkhead_runtime.models.accounting import counts_of
from bulkhead_runtime.models.failures import Failures
from bulkhead_runtime.models.fast_lane.connections import Connections
from bulkhead_runtime.models.fast_lane.failures import broken, refused
from bulkhead_runtime.models.port import Moderation

MAX_ANSWER_BYTES: Final = 65_536
MAX_CATEGORIES: Final = 32


class FastLaneModerator:
    """Moderates by one OpenAI-compatible provider."""

    def __init__(self, provider: ProviderConfig, key: str | None, connections: Connections) -> None:
        self._failures = Failures(provider.name, key)
        self._timeout_seconds = provider.timeout_seconds
        self._url = f"{(provider.base_url or '').rstrip('/')}/moderations"
        self._connections = connections
        self._headers = {"Content-Type": "application/json"}
        if key:
            self._headers["Authorization"] = f"Bearer {key}"

    async def __call__(self, text: str, model: str | None, deadline: float) -> Moderation:
        """Return the provider's judgement; raise `ModelError` when there is none."""
        body = {"input": text} if model is None else {"input": text, "model": model}
        seconds = min(self._timeout_seconds, deadline - time.monotonic())
        if seconds <= 0:  # which aiohttp would read as no limit at all
            raise self._failures.timeout(self._timeout_seconds)
        try:
            async with self._connections.session().post(
                self._url,
                data=orjson.dumps(body),
                headers=self._headers,
                timeout=aiohttp.ClientTimeout(total=seconds),
                allow_redirects=False,
            ) as response:
                answer = await _bounded(response)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise broken(self._failures, error, self._timeout_seconds) from None
        if response.status != 200:  # noqa: PLR2004
            raise refused(
                self._failures, model or "moderations", response.status, response.headers, answer
            )
        return self._judgement(answer)

    def _judgement(self, answer: bytes) -> Moderation:
        try:
            judged: dict[str, Any] = orjson.loads(answer)
            result: dict[str, Any] = judged["results"][0]
            flagged = bool(result["flagged"])
            names = [name[:64] for name, applies in result["categories"].items() if applies]
        except (orjson.JSONDecodeError, AttributeError, LookupError, TypeError):
            raise self._failures.garbage("no judgement of a text") from None
        return Moderation(flagged, tuple(sorted(names)[:MAX_CATEGORIES]), _counted(judged))


def _counted(judged: dict[str, Any]) -> int | None:
    usage = judged.get("usage")
    counts = counts_of(usage.get("prompt_tokens"), 0) if isinstance(usage, dict) else None
    return None if counts is None else counts[0]


async def _bounded(response: aiohttp.ClientResponse) -> bytes:
    answer = bytearray()
    async for piece in response.content.iter_any():
        answer += piece
        if len(answer) > MAX_ANSWER_BYTES:
            break
    return bytes(answer)
