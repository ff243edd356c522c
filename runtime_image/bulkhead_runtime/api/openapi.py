"""Documents the hot path, which FastAPI does not serve, in the OpenAPI document that it makes."""

from typing import Any, Final

import msgspec
from fastapi import FastAPI

from bulkhead_runtime.api.chat_body import ChatBody
from bulkhead_runtime.api.execute import ExecuteBody

_REFERENCE: Final = "#/components/schemas/{name}"

_SUMMARIES: Final = {
    "/v1/agents/{agent}/execute": (
        "Send a message to an agent, in a new session or the one that `session_id` names.",
        "agents",
        "ExecuteBody",
        "application/json",
    ),
    "/v1/agents/{agent}/execute/stream": (
        "The same as server-sent events: meta, token (increments), done (whole answer) or error.",
        "agents",
        "ExecuteBody",
        "text/event-stream",
    ),
    "/v1/chat/completions": (
        "OpenAI-compatible chat completions. `model` is an agent's name or PROVIDER/MODEL.",
        "openai",
        "ChatBody",
        "application/json",
    ),
}

_PROBES: Final = {
    "/health": "Whether the process is alive.",
    "/readiness": "Whether traffic should come here, dependency by dependency.",
    "/metrics": "Metrics in Prometheus' text format.",
}
_OPEN: Final = ("/health", "/readiness")


def extend(app: FastAPI) -> None:
    """Let the application's document describe every path of the runtime."""
    generate = app.openapi

    def openapi() -> dict[str, Any]:
        document = generate()
        if "/health" not in document["paths"]:
            _add(document)
        return document

    app.openapi = openapi  # type: ignore[method-assign]  # FastAPI's documented way


def _add(document: dict[str, Any]) -> None:
    components = document.setdefault("components", {})
    _, schemas = msgspec.json.schema_components((ExecuteBody, ChatBody), ref_template=_REFERENCE)
    components.setdefault("schemas", {}).update(schemas)
    components["securitySchemes"] = {"apiKey": {"type": "http", "scheme": "bearer"}}
    document["security"] = [{"apiKey": []}]
    for path, (summary, tag, body, media_type) in _SUMMARIES.items():
        document["paths"][path] = {"post": _operation(path, summary, tag, body, media_type)}
    for path, summary in _PROBES.items():
        operation: dict[str, Any] = {
            "summary": summary,
            "tags": ["operation"],
            "responses": {"200": {"description": "OK"}, "503": {"description": "Not now"}},
        }
        if path in _OPEN:
            operation["security"] = []
        document["paths"][path] = {"get": operation}


def _operation(path: str, summary: str, tag: str, body: str, media_type: str) -> dict[str, Any]:
    schema = {"$ref": _REFERENCE.format(name=body)}
    operation: dict[str, Any] = {
        "summary": summary,
        "tags": [tag],
        "requestBody": {"required": True, "content": {"application/json": {"schema": schema}}},
        "responses": {
            "200": {"description": "The answer", "content": {media_type: {}}},
            "default": {"description": "A problem", "content": {"application/problem+json": {}}},
        },
    }
    if "{agent}" in path:
        operation["parameters"] = [
            {"name": "agent", "in": "path", "required": True, "schema": {"type": "string"}}
        ]
    return operation
