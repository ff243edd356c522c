"""A provider's failures in our words, for both lanes.

The provider's own words are shown only where they help a person, and then redacted.
"""

import time
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from typing import Any, Final

from bulkhead_runtime.models.errors import ModelError, ModelErrorKind
from bulkhead_runtime.models.redaction import redacted

MAX_RETRY_AFTER_SECONDS: Final = 3_600

_REMEDIES: Final[dict[ModelErrorKind, str]] = {
    "unauthorized": "refused the API key: put a valid one into the Secret that its credentialsRef "
    "names",
    "unknown_model": "has no model {model!r}: check the model's name and the provider's baseURL",
    "rate_limited": "is limiting requests: try again later",
    "timeout": "did not answer in time: try again later",
    "unavailable": "failed: try again later",
}
_UNPAID: Final = "wants to be paid: fill up the account that its API key belongs to"
_MOVED: Final = "redirects, which is not followed: write the final address as baseURL"
_BY_STATUS: Final = {402: _UNPAID, **dict.fromkeys(range(300, 400), _MOVED)}


class Failures:
    """Words the failures of one provider; `key` is what must never be among them."""

    def __init__(self, provider: str, key: str | None) -> None:
        self._provider = provider
        self._key = key

    def of_kind(
        self,
        kind: ModelErrorKind,
        model: str,
        *,
        status: int | None = None,
        said: object = "",
        retry_after: float | None = None,
    ) -> ModelError:
        """Return the error of a kind; `said` are the provider's own words, not yet redacted."""
        remedy = _BY_STATUS.get(status or 0) or _REMEDIES.get(kind)
        words = redacted(said, self._key) or "without a reason"
        # The provider's own words are never a template.
        told = remedy.format(model=model[:128]) if remedy else f"refused the request: {words}"
        code = f" (HTTP {status})" if status is not None else ""
        return ModelError(
            kind,
            f"Provider {self._provider!r} {told}{code}.",
            retry_after=retry_after,
            status=status,
        )

    def timeout(self, seconds: float) -> ModelError:
        """Return the error for an answer that did not come within the configured seconds."""
        return ModelError(
            "timeout",
            f"Provider {self._provider!r} did not answer in time: raise its timeoutSeconds "
            f"(now {seconds:g}) or the agent's timeout, or try again.",
        )

    def unreachable(self, kind: ModelErrorKind) -> ModelError:
        """Return the error for a provider to which no connection can be made."""
        return ModelError(
            kind,
            f"Provider {self._provider!r} cannot be connected to: check its baseURL and that "
            "spec.network.egress allows its address and port.",
        )

    def of_frame(self, error: Any) -> ModelError:
        """Return the error for an error object inside a stream."""
        said = redacted(error.get("message") if isinstance(error, dict) else error, self._key)
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


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Return the seconds that a provider asks to wait, an hour at most; None for nonsense."""
    told = headers.get("Retry-After", "")
    try:
        seconds = float(told)
    except ValueError:
        seconds = _seconds_until(told)
    return min(seconds, MAX_RETRY_AFTER_SECONDS) if seconds >= 0 else None


def _seconds_until(date: str) -> float:
    """Return the seconds until an HTTP date, less than none where it is no date."""
    try:
        return parsedate_to_datetime(date).timestamp() - time.time()
    except (ValueError, OverflowError):
        return -1.0
