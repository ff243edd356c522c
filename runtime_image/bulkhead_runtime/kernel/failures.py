"""How failures of models are told to clients of this runtime."""

from typing import Final

from bulkhead_runtime.errors import Problem
from bulkhead_runtime.models.errors import ModelError, ModelErrorKind

_ANSWERS: Final[dict[ModelErrorKind, tuple[int, str]]] = {
    "rate_limited": (429, "model_rate_limited"),
    "timeout": (504, "model_timeout"),
    "unavailable": (502, "model_unavailable"),
    "refused": (422, "model_refused"),
    "garbage": (502, "model_garbage"),
    "unauthorized": (502, "model_unauthorized"),
    "missing_credentials": (503, "model_credentials_missing"),
    "unknown_provider": (404, "unknown_model"),
    "unknown_model": (404, "unknown_model"),
    "invalid_request": (400, "model_invalid_request"),
    "denied": (403, "model_denied"),
}


def as_problem(error: ModelError) -> Problem:
    """Return the status and code for a failed model call; its message is made for people."""
    status, code = _ANSWERS[error.kind]
    return Problem(status, code, error.message, retry_after=error.retry_after)
