"""The OpenAPI document: FastAPI's for what it serves, and the hot path, which it does not.

Every status that a path can answer with is listed, problems in the shape of the API they belong
to, so that clients can be generated and the runtime be held to its word.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import msgspec
from fastapi import FastAPI

from bulkhead_runtime.api.chat_body import ChatBody
from bulkhead_runtime.api.event_feed import MAX_PAGE
from bulkhead_runtime.api.execute import ExecuteBody
from bulkhead_runtime.api.problems import OPENAI_PATHS, TITLES
from bulkhead_runtime.api.responses_body import ResponseBody
from bulkhead_runtime.api.tool_runs import ToolRunBody
from bulkhead_runtime.events.types import EVENT_TYPES

Document = dict[str, Any]

_SCHEMA: Final = "#/components/schemas/{name}"
_OPEN: Final = ("/health", "/readiness")
_VALIDATION: Final = "HTTPValidationError"
"""FastAPI's own answer to bad input, which this application replaces by a problem."""

_ALWAYS: Final = (401, 403, 405, 500, 503)
_WITH_PARAMETERS: Final = (400, 404, 422)
_WITH_BODY: Final = (400, 404, 408, 409, 413, 415, 422, 429, 507)
_SPENDING: Final = (402, 502, 504)


@dataclass(frozen=True)
class _Operation:
    """An operation of the hot path; `body` is the struct that its body is decoded into."""

    path: str
    tag: str
    summary: str
    body: type[msgspec.Struct]
    media_types: tuple[str, ...] = ("application/json",)


_JSON_OR_EVENTS: Final = ("application/json", "text/event-stream")
_OPERATIONS: Final = (
    _Operation(
        "/v1/agents/{agent}/execute",
        "agents",
        "Send a message to an agent, in a new session or the one that `session_id` names.",
        ExecuteBody,
    ),
    _Operation(
        "/v1/agents/{agent}/execute/stream",
        "agents",
        "The same as server-sent events: meta, token (increments), done (whole answer) or error.",
        ExecuteBody,
        ("text/event-stream",),
    ),
    _Operation(
        "/v1/chat/completions",
        "openai",
        "OpenAI-compatible chat completions. `model` is an agent's name or PROVIDER/MODEL.",
        ChatBody,
        _JSON_OR_EVENTS,
    ),
    _Operation(
        "/v1/responses",
        "openai",
        "OpenAI-compatible responses. `model` is an agent's name or PROVIDER/MODEL.",
        ResponseBody,
        _JSON_OR_EVENTS,
    ),
    _Operation(
        "/v1/tools/run",
        "tools",
        "Run a tool without a model. What goes wrong inside the tool is told in its envelope.",
        ToolRunBody,
    ),
)
_HEADERS: Final = [
    {
        "name": name,
        "in": "header",
        "required": False,
        "description": text,
        "schema": {"type": "string", "minLength": 1, "maxLength": 255, "pattern": pattern},
    }
    for name, text, pattern in (
        ("Idempotency-Key", "The same key again gets the same answer.", "^[!-~]+$"),
        (
            "Bulkhead-Policies",
            "Named policies that narrow this request.",
            "^[-a-z0-9]+(,[-a-z0-9]+)*$",
        ),
    )
]

_PROBES: Final = {
    "/health": ("Whether the process is alive.", "application/json"),
    "/readiness": ("Whether traffic should come here, by dependency.", "application/json"),
    "/metrics": ("Metrics in Prometheus' text format.", "text/plain"),
}

_PROBLEM: Final = {
    "type": "object",
    "description": "RFC 9457's problem details, with a stable code and the trace.",
    "required": ["type", "title", "status", "detail", "code", "trace_id"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "code": {"type": "string"},
        "trace_id": {"type": "string"},
        "session_id": {"type": "string"},
        "field": {"type": "string"},
        "usage": {"type": "object"},
    },
}
_TEXT_OR_NULL: Final = {"type": ["string", "null"]}
_OPENAI_ERROR: Final = {
    "type": "object",
    "description": "The error object that OpenAI's clients read.",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["message", "type", "param", "code"],
            "properties": {
                "message": {"type": "string"},
                "type": {"type": "string"},
                "param": _TEXT_OR_NULL,
                "code": _TEXT_OR_NULL,
            },
        }
    },
}


def extend(app: FastAPI) -> None:
    """Let the application's document describe every path of the runtime."""
    generate = app.openapi

    def openapi() -> Document:
        document = generate()
        if "/health" not in document["paths"]:
            _complete(document)
        return document

    app.openapi = openapi  # type: ignore[method-assign]  # FastAPI's documented way


def _complete(document: Document) -> None:
    schemas = document.setdefault("components", {}).setdefault("schemas", {})
    bodies = tuple(dict.fromkeys(operation.body for operation in _OPERATIONS))
    _, described = msgspec.json.schema_components(bodies, ref_template=_SCHEMA)
    schemas.update(described, Problem=_PROBLEM, OpenAIError=_OPENAI_ERROR)
    for name in (_VALIDATION, "ValidationError"):
        schemas.pop(name, None)
    document["components"]["securitySchemes"] = {"apiKey": {"type": "http", "scheme": "bearer"}}
    document["security"] = [{"apiKey": []}]
    for path, operation in _operations(document):
        _list_problems(path, operation, spends=False)
    for hot in _OPERATIONS:
        operation = _hot_operation(hot)
        _list_problems(hot.path, operation, spends=True)
        document["paths"][hot.path] = {"post": operation}
    events = _events_operation()
    _list_problems("/v1/runtime/events", events, spends=False)
    events["responses"]["429"] = _problem_response("/v1/runtime/events", 429)
    document["paths"]["/v1/runtime/events"] = {"get": events}
    stream = _metric_stream_operation()
    _list_problems("/v1/metrics/stream", stream, spends=False)
    stream["responses"]["429"] = _problem_response("/v1/metrics/stream", 429)
    document["paths"]["/v1/metrics/stream"] = {"get": stream}
    for path, (summary, media_type) in _PROBES.items():
        document["paths"][path] = {"get": _probe(path, summary, media_type)}


def _operations(document: Document) -> Iterator[tuple[str, Document]]:
    for path, operations in document["paths"].items():
        for operation in operations.values():
            yield path, operation


def _list_problems(path: str, operation: Document, *, spends: bool) -> None:
    statuses = set(_ALWAYS)
    if path not in _PROBES and not path.startswith(OPENAI_PATHS):
        statuses.add(422)  # a query parameter that the path does not know
    if operation.get("parameters"):
        statuses.update(_WITH_PARAMETERS)
    if "requestBody" in operation:
        statuses.update(_WITH_BODY)
    if spends:
        statuses.update(_SPENDING)
    operation["responses"].pop("422", None)
    for status in sorted(statuses):
        operation["responses"][str(status)] = _problem_response(path, status)


def _problem_response(path: str, status: int) -> Document:
    openai = path.startswith(OPENAI_PATHS)
    name, media_type = (
        ("OpenAIError", "application/json") if openai else ("Problem", "application/problem+json")
    )
    content = {media_type: {"schema": {"$ref": _SCHEMA.format(name=name)}}}
    return {"description": TITLES[status], "content": content}


def _hot_operation(hot: _Operation) -> Document:
    schema = {"$ref": _SCHEMA.format(name=hot.body.__name__)}
    operation: Document = {
        "summary": hot.summary,
        "tags": [hot.tag],
        "parameters": list(_HEADERS),
        "requestBody": {"required": True, "content": {"application/json": {"schema": schema}}},
        "responses": {
            "200": {
                "description": "The answer",
                "content": {media_type: {} for media_type in hot.media_types},
            }
        },
    }
    if "{agent}" in hot.path:
        agent = {"type": "string", "minLength": 1, "maxLength": 63}
        path = {"name": "agent", "in": "path", "required": True, "schema": agent}
        operation["parameters"].append(path)
    return operation


def _events_operation() -> Document:
    text: Document = {"type": "string", "minLength": 1, "maxLength": 256}
    types: Document = {"type": "array", "items": {"type": "string", "enum": sorted(EVENT_TYPES)}}
    schemas = {
        "type": (types, "Only these types."),
        "session_id": (text, "Only of this session."),
        "trace_id": (text, "Only of this trace."),
        "principal": (text, "Only of this principal."),
        "after": ({"type": "integer", "minimum": 0}, "Only after this sequence."),
        "limit": ({"type": "integer", "minimum": 1, "maximum": MAX_PAGE}, "How many at most."),
        "newest": ({"type": "boolean"}, "Whether to begin with the newest, not the oldest."),
        "follow": ({"type": "boolean"}, "Whether to go on with new ones as server-sent events."),
    }
    return {
        "summary": "List what happened, in order, or follow it.",
        "tags": ["events"],
        "parameters": [
            {"name": name, "in": "query", "schema": schema, "description": description}
            for name, (schema, description) in schemas.items()
        ],
        "responses": {
            "200": {
                "description": "One page, or the events as they come",
                "content": {media_type: {} for media_type in _JSON_OR_EVENTS},
            }
        },
    }


def _metric_stream_operation() -> Document:
    return {
        "summary": "Follow metrics as server-sent events: snapshot (all of them), then change.",
        "tags": ["metrics"],
        "responses": {
            "200": {
                "description": "The metrics as they change",
                "content": {"text/event-stream": {}},
            }
        },
    }


def _probe(path: str, summary: str, media_type: str) -> Document:
    answer: Document = {"content": {media_type: {}}}
    operation: Document = {
        "summary": summary,
        "tags": ["operation"],
        "responses": {
            "200": {"description": "OK", **answer},
            "503": {"description": "Not now", **answer},
        },
    }
    if path in _OPEN:
        operation["security"] = []
    else:
        _list_problems(path, operation, spends=False)
    return operation
