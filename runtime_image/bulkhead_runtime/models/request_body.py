"""Requests as OpenAI-compatible endpoints read them."""

from typing import Any, Final
from urllib.parse import urlsplit

from bulkhead_api.runtime_config import ProviderConfig
from bulkhead_runtime.models.port import ModelMessage, ModelRequest, ToolSpec

_WANT_COMPLETION_LIMIT: Final = (".openai.com", ".openai.azure.com")
"""OpenAI's newer models refuse `max_tokens`; most other servers know nothing else."""


def limit_field(provider: ProviderConfig) -> str:
    """Return the name of the field that bounds the output of this provider's models."""
    host = urlsplit(provider.base_url or "").hostname or ""
    return "max_completion_tokens" if host.endswith(_WANT_COMPLETION_LIMIT) else "max_tokens"


def request_body(request: ModelRequest, limit_name: str) -> dict[str, Any]:
    """Return the body of a streaming chat completion."""
    body: dict[str, Any] = {
        **(request.options or {}),
        "model": request.model.partition("/")[2],
        "messages": [_message(message) for message in request.messages],
        "stream": True,
        "stream_options": {"include_usage": True},
        limit_name: request.max_output_tokens,
    }
    if request.tools:
        body["tools"] = [_tool(tool) for tool in request.tools]
    if request.temperature is not None:
        body["temperature"] = request.temperature
    return body


def _message(message: ModelMessage) -> dict[str, Any]:
    body: dict[str, Any] = {
        "role": message.role,
        "content": list(message.raw_content) if message.raw_content else message.content,
    }
    if message.tool_calls:
        body["tool_calls"] = [
            {
                "id": call.id,
                "type": "function",
                "function": {"name": call.name, "arguments": call.arguments},
            }
            for call in message.tool_calls
        ]
    if message.tool_call_id is not None:
        body["tool_call_id"] = message.tool_call_id
    return body


def _tool(tool: ToolSpec) -> dict[str, Any]:
    function: dict[str, Any] = {
        "name": tool.name,
        "description": tool.description,
        "parameters": dict(tool.parameters),
    }
    if tool.strict is not None:
        function["strict"] = tool.strict
    return {"type": "function", "function": function}
