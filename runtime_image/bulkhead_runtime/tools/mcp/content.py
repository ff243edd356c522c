"""Results of MCP tools as JSON values: structured data and text; what is neither is only named."""

from typing import Any, Final

import mcp_types

MAX_TEXT_CHARACTERS: Final = 40_000
MAX_ERROR_CHARACTERS: Final = 2_000
MAX_PARTS: Final = 100


def tool_data(result: mcp_types.CallToolResult) -> dict[str, Any]:
    """Return {"structured" or "text", "omitted"} of a result, text within a bound."""
    data: dict[str, Any] = {}
    text = _text(result)
    if result.structured_content is not None:
        data["structured"] = result.structured_content
    elif text:
        data["text"] = text[:MAX_TEXT_CHARACTERS]
    if len(text) > MAX_TEXT_CHARACTERS and "text" in data:
        data["truncated"] = True
    omitted = [_named(part) for part in result.content[:MAX_PARTS] if not _readable(part)]
    if omitted:
        data["omitted"] = omitted
    return data


def tool_text(result: mcp_types.CallToolResult) -> str:
    """Return what a failed call says of itself."""
    return _text(result)[:MAX_ERROR_CHARACTERS]


def _text(result: mcp_types.CallToolResult) -> str:
    return "\n".join(map(_readable, result.content[:MAX_PARTS])).strip()


def _readable(part: mcp_types.ContentBlock) -> str:
    match part:
        case mcp_types.TextContent():
            return part.text
        case mcp_types.ResourceLink():
            return f"{part.name[:200]}: {str(part.uri)[:2000]}"
        case mcp_types.EmbeddedResource(resource=mcp_types.TextResourceContents() as resource):
            return resource.text
        case _:
            return ""


def _named(part: mcp_types.ContentBlock) -> str:
    """Return what kind of content is left out."""
    kind = getattr(part, "mime_type", None) or getattr(part, "type", "content")
    return str(kind)[:100]
