"""What an answer of the API server means: its Status object becomes one of our errors.

Messages are bounded, and those about Secrets are replaced, since an API server may quote a value.
"""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Final

import orjson

from bulkhead_operator.errors import ClusterError, Conflict, Forbidden, Gone, Refused

LONGEST_MESSAGE: Final = 1000
RETRIED: Final = frozenset({429, 500, 502, 503, 504})

_ERRORS: Final[Mapping[int, type[ClusterError]]] = {
    HTTPStatus.FORBIDDEN: Forbidden,
    HTTPStatus.NOT_FOUND: Gone,
    HTTPStatus.GONE: Gone,
    HTTPStatus.CONFLICT: Conflict,
    HTTPStatus.BAD_REQUEST: Refused,
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: Refused,
    HTTPStatus.UNSUPPORTED_MEDIA_TYPE: Refused,
    HTTPStatus.UNPROCESSABLE_ENTITY: Refused,
}


def error_of(status: int, content: bytes, what: str) -> ClusterError:
    """Return the error for an answer with `status` to `what` (method and path)."""
    document = _document(content)
    reason = str(document.get("reason") or f"HTTP{status}")
    message = str(document.get("message") or "no explanation")[:LONGEST_MESSAGE]
    if "/secrets" in what:
        message = "the API server refused the request about a Secret"
    kind = _ERRORS.get(status, ClusterError)
    if kind is Forbidden and _namespace_terminates(document):
        kind, reason = Gone, "NamespaceTerminating"
    return kind(reason, f"{what}: {status} {message}", status)


def _document(content: bytes) -> Mapping[str, Any]:
    try:
        document = orjson.loads(content)
    except orjson.JSONDecodeError:
        return {}
    return document if isinstance(document, dict) else {}


def _namespace_terminates(document: Mapping[str, Any]) -> bool:
    causes = (document.get("details") or {}).get("causes") or []
    return any(cause.get("reason") == "NamespaceTerminating" for cause in causes)


def retry_after(header: str | None) -> float | None:
    """Return the seconds of a Retry-After header, None when there is none or it is a date."""
    return float(header) if header is not None and header.isdigit() else None
