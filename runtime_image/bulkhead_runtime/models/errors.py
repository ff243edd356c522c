"""What can go wrong with a model call, in words that kernel and clients can act on."""

from typing import Literal

ModelErrorKind = Literal[
    "rate_limited",
    "timeout",
    "unavailable",
    "refused",
    "garbage",
    "unauthorized",
    "missing_credentials",
    "unknown_provider",
    "unknown_model",
    "invalid_request",
    "denied",
]


class ModelError(Exception):
    """A model call failed.

    `message` is for people: it names what to do and never holds a key or a provider's whole body.
    `retry_after` is in seconds, `status` the provider's HTTP status where there was one.
    """

    def __init__(
        self,
        kind: ModelErrorKind,
        message: str,
        *,
        retry_after: float | None = None,
        status: int | None = None,
    ) -> None:
        super().__init__(message)
        self.kind: ModelErrorKind = kind
        self.message = message
        self.retry_after = retry_after
        self.status = status
