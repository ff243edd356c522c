"""Turns `Problem` into answers: RFC 9457 on our own API, OpenAI's shape where its clients call."""

import logging
import math
from typing import Any, Final

import orjson

from bulkhead_runtime.api.exchange import Exchange
from bulkhead_runtime.api.rate_headers import Header
from bulkhead_runtime.errors import Problem, Spent
from bulkhead_runtime.telemetry.trace import Trace

log = logging.getLogger(__name__)

TYPE_PREFIX: Final = "https://bulkhead.dev/problems/"
OPENAI_PATHS: Final = ("/v1/chat/", "/v1/models", "/v1/responses", "/package/v1/")
"""Where clients expect OpenAI's error object."""

PROBLEM_JSON: Final = b"application/problem+json"

TITLES: Final = {
    400: "Bad request",
    402: "Budget used up",
    401: "Not authenticated",
    403: "Not allowed",
    404: "Not found",
    408: "Too slow",
    405: "Method not allowed",
    409: "Conflict",
    413: "Body too large",
    415: "Unsupported media type",
    422: "Invalid request",
    431: "Header fields too large",
    429: "Too many requests",
    500: "Internal error",
    502: "The model failed",
    503: "Not available",
    504: "Took too long",
    507: "No room",
}

_OPENAI_TYPES: Final = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    429: "rate_limit_error",
}
_SERVER_ERRORS: Final = 500


def problem_document(problem: Problem, trace: Trace | None) -> dict[str, Any]:
    """Return the problem details of RFC 9457, with our code and the trace if there is one."""
    document: dict[str, Any] = {
        "type": TYPE_PREFIX + problem.code,
        "title": TITLES.get(problem.status, "Error"),
        "status": problem.status,
        "detail": problem.message,
        "code": problem.code,
    }
    if trace is not None:
        document["trace_id"] = trace.trace_id
    if problem.session_id is not None:
        document["session_id"] = problem.session_id
    if problem.field is not None:
        document["field"] = problem.field
    if problem.spent is not None:
        document["usage"] = spent_document(problem.spent)
    return document


def spent_document(spent: Spent) -> dict[str, Any]:
    """Return what failed work has used all the same."""
    return {
        "input_tokens": spent.input_tokens,
        "output_tokens": spent.output_tokens,
        "total_tokens": spent.input_tokens + spent.output_tokens,
        "cost": spent.cost,
    }


def openai_error(problem: Problem) -> dict[str, Any]:
    """Return the error object that OpenAI's clients parse."""
    fallback = "server_error" if problem.status >= _SERVER_ERRORS else "invalid_request_error"
    document: dict[str, Any] = {
        "error": {
            "message": problem.message,
            "type": _OPENAI_TYPES.get(problem.status, fallback),
            "param": problem.field,
            "code": problem.code,
        }
    }
    if problem.spent is not None:
        document["usage"] = spent_document(problem.spent)
    return document


def problem_headers(problem: Problem) -> list[Header]:
    """Return the headers that belong to a problem."""
    headers: list[Header] = []
    if problem.retry_after is not None:
        headers.append((b"retry-after", b"%d" % max(1, math.ceil(problem.retry_after))))
    if problem.status == 401:  # noqa: PLR2004 (a status is clearest as its number)
        headers.append((b"www-authenticate", b'Bearer realm="bulkhead"'))
    return headers


def answerable(error: Exception, exchange: Exchange) -> Problem:
    """Return what a client may know of an error; one that nobody foresaw goes to the log."""
    if isinstance(error, Problem):
        return error
    ids = {
        "request_id": exchange.request_id.decode(),
        "trace_id": exchange.trace.trace_id,
        "principal": exchange.principal.name,
    }
    log.error("Request failed", exc_info=error, extra={"route": exchange.route, **ids})
    return Problem(
        500, "internal_error", "Something failed here. The trace id finds it in the logs."
    )


def render(problem: Problem, exchange: Exchange) -> tuple[bytes, bytes]:
    """Return media type and body of a problem, in the shape of the API that was called."""
    if exchange.path.startswith(OPENAI_PATHS):
        return b"application/json", orjson.dumps(openai_error(problem))
    return PROBLEM_JSON, orjson.dumps(problem_document(problem, exchange.trace))


async def send_problem(exchange: Exchange, problem: Problem) -> None:
    """Answer with a problem."""
    content_type, body = render(problem, exchange)
    await exchange.respond(
        problem.status, body, content_type=content_type, headers=problem_headers(problem)
    )
