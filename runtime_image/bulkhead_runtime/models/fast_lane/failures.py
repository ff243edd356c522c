"""A provider's failures in our words.

The provider's own words are shown only where they help a person, shortened and without anything
that looks like a key.
"""

import re
from collections.abc import Mapping
from typing import Any, Final

import aiohttp
import orjson

from bulkhead_runtime.models.errors import ModelError, ModelErrorKind

MAX_QUOTED_CHARACTERS: Final = 200
MAX_RETRY_AFTER_SECONDS: Final = 3_600

_LOOKS_SECRET: Final = re.compile(
    r"(?i)\bbearer\s+\S+|\b(?:sk|pk|key|api[-_]?key|token)[-_=: ]+[\w*.-]{8,}|[\w-]{32,}"
)
_UNPRINTABLE: Final = re.compile(r"[^\x20-\x7e\u00a0-\uffff]+")

_KINDS: Final[dict[int, ModelErrorKind]] = {
    400: "invalid_request",
    401: "unauthorized",
    403: "unauthorized",
    404: "unknown_model",
    408: "timeout",
    413: "invalid_request",
    422: "invalid_request",
    429: "rate_limited",
    504: "timeout",
}

_REMEDIES: Final[dict[ModelErrorKind, str]] = {
    "unauthorized": "refused the API key: put a valid one into the Secret that its credentialsRef "
    "names",
    "unknown_model": "has no model {model!r}: check the model's name and the provider's baseURL",
    "rate_limited": "is limiting requests: try again later",
    "timeout": "did not answer in time: try again later",
    "unavailable": "failed: try again later",
}


class Failures:
    """Words the failures of one provider; `key` is what must never be among them."""

    def __init__(self, provider: str, key: str | None) -> None:
        self._provider = provider
        self._key = key

    def of_status(
        self, status: int, headers: Mapping[str, str], body: bytes, model: str
    ) -> ModelError:
        """Return the error for an answer that is not 200."""
        kind = _KINDS.get(status, "unavailable" if status >= 500 else "refused")  # noqa: PLR2004
        return ModelError(
            kind,
            self._explain(kind, status, self._said(body), model),
            retry_after=retry_after(headers),
            status=status,
        )

    def of_exception(self, error: BaseException, seconds: float) -> ModelError:
        """Return the error for a call that broke; `seconds` is the configured timeout."""
        if isinstance(error, aiohttp.ConnectionTimeoutError):
            return ModelError(
                "timeout",
                f"Provider {self._provider!r} cannot be connected to: check its baseURL and that "
                "spec.network.egress allows its address and port.",
            )
        if isinstance(error, TimeoutError):
            return ModelError(
                "timeout",
                f"Provider {self._provider!r} did not answer in time: raise its timeoutSeconds "
                f"(now {seconds:g}) or the agent's timeout, or try again.",
            )
        if isinstance(error, aiohttp.ClientConnectorCertificateError):
            return self.unavailable("its TLS certificate is not trusted")
        if isinstance(error, aiohttp.ClientConnectorError):
            return self.unavailable(
                "no connection could be made; check baseURL and spec.network.egress"
            )
        return self.unavailable("the connection broke")

    def of_frame(self, error: Any) -> ModelError:
        """Return the error for an error object inside a stream."""
        said = _shortened(error.get("message") if isinstance(error, dict) else error)
        said = self.scrub(said)
        return self.unavailable(f"it ended its answer with an error: {said or 'unnamed'}")

    def garbage(self, what: str) -> ModelError:
        """Return the error for an answer that is no chat completion."""
        return ModelError(
            "garbage",
            f"Provider {self._provider!r} sent {what}: check that its baseURL is that of an "
            "OpenAI-compatible API.",
        )

    def unavailable(self, why: str) -> ModelError:
        """Return the error for a provider that cannot answer now."""
        return ModelError("unavailable", f"Provider {self._provider!r} is unavailable: {why}.")

    def scrub(self, text: str) -> str:
        """Return the text without the key and without anything that looks like one."""
        if self._key:
            text = text.replace(self._key, "***")
        return _LOOKS_SECRET.sub("***", text)

    def _said(self, body: bytes) -> str:
        try:
            decoded = orjson.loads(body)
        except orjson.JSONDecodeError:
            return ""
        error = decoded.get("error") if isinstance(decoded, dict) else None
        message = error.get("message") if isinstance(error, dict) else error
        # Scrubbed before it is cut, so that no half of a key stays.
        return _shortened(self.scrub(message)) if isinstance(message, str) else ""

    def _explain(self, kind: ModelErrorKind, status: int, said: str, model: str) -> str:
        remedy = _REMEDIES.get(kind)
        if remedy is None and 300 <= status < 400:  # noqa: PLR2004
            remedy = "redirects, which is not followed: write the final address as baseURL"
        # The provider's own words are never a template.
        told = remedy.format(model=model[:128]) if remedy else f"refused the request: {said}"
        return f"Provider {self._provider!r} {told} (HTTP {status})."


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Return the seconds that Retry-After asks for; dates and nonsense are as good as none."""
    try:
        seconds = float(headers.get("Retry-After", ""))
    except ValueError:
        return None
    return seconds if 0 <= seconds <= MAX_RETRY_AFTER_SECONDS else None


def _shortened(text: object) -> str:
    words = _UNPRINTABLE.sub(" ", str(text or "")).strip()
    if len(words) <= MAX_QUOTED_CHARACTERS:
        return words
    return f"{words[:MAX_QUOTED_CHARACTERS]}..."
