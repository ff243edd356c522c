"""A provider's failures in our words, for both lanes.

The provider's own words are shown only where they help a person, and then redacted.
"""

from collections.abc import Mapping
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
        remedy = _REMEDIES.get(kind)
        if remedy is None and status is not None and 300 <= status < 400:  # noqa: PLR2004
            remedy = "redirects, which is not followed: write the final address as baseURL"
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
    """Return the seconds that a provider asks to wait; dates and nonsense are as good as none."""
    try:
        seconds = float(headers.get("Retry-After", ""))
    except ValueError:
        return None
    return seconds if 0 <= seconds <= MAX_RETRY_AFTER_SECONDS else None
