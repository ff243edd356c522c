"""What HTTP tells of a failure, in the words of both lanes."""

from collections.abc import Mapping
from typing import Final

import aiohttp
import orjson

from bulkhead_runtime.models.errors import ModelError, ModelErrorKind
from bulkhead_runtime.models.failures import Failures, retry_after

_KINDS: Final[dict[int, ModelErrorKind]] = {
    400: "invalid_request",
    401: "unauthorized",
    402: "unauthorized",
    403: "unauthorized",
    404: "unknown_model",
    408: "timeout",
    413: "invalid_request",
    422: "invalid_request",
    429: "rate_limited",
    504: "timeout",
}


def refused(
    failures: Failures, model: str, status: int, headers: Mapping[str, str], body: bytes
) -> ModelError:
    """Return the error for an answer that is not 200."""
    kind = _KINDS.get(status, "refused" if 400 <= status < 500 else "unavailable")  # noqa: PLR2004
    return failures.of_kind(
        kind, model, status=status, said=_said(body), retry_after=retry_after(headers)
    )


def broken(failures: Failures, error: BaseException, seconds: float) -> ModelError:
    """Return the error for a call that broke; `seconds` is the configured timeout."""
    if isinstance(error, aiohttp.ConnectionTimeoutError):
        return failures.unreachable("timeout")
    if isinstance(error, TimeoutError):
        return failures.timeout(seconds)
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return failures.unavailable("its TLS certificate is not trusted")
    if isinstance(error, aiohttp.ClientConnectorError):
        return failures.unreachable("unavailable")
    return failures.unavailable("the connection broke")


def _said(body: bytes) -> object:
    try:
        decoded = orjson.loads(body)
    except orjson.JSONDecodeError:
        return ""
    error = decoded.get("error") if isinstance(decoded, dict) else None
    return error.get("message") if isinstance(error, dict) else error
