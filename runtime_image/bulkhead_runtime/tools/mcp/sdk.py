"""The one module that imports the MCP SDK, which takes a second and 29 MB.

It is imported by need, in a thread. A call has a connection of the protocol to itself, so that
what a server keeps for its client is never shared by two conversations; with servers of the
present, stateless protocol that costs nothing, a call is one request.
"""

import logging
import ssl
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

import httpx2
import mcp_types
from mcp.client.client import Client
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.exceptions import MCPError
from mcp_types.version import MODERN_PROTOCOL_VERSIONS
from pydantic import ValidationError

from bulkhead_runtime.tools.errors import ToolError, TransientError
from bulkhead_runtime.tools.mcp.content import tool_data, tool_text
from bulkhead_runtime.tools.mcp.endpoint import LEGACY, Endpoint

MAX_ANSWER_BYTES: Final = 4 * 1024 * 1024
"""Of one HTTP answer, stream or not; more ends the call."""

MAX_PAGES: Final = 10
CONNECT_SECONDS: Final = 5.0

for _name in ("mcp", "httpx2", "httpcore2"):
    # They log what servers say, with tracebacks; what matters of it goes into envelopes.
    logging.getLogger(_name).setLevel(logging.CRITICAL)


@dataclass(frozen=True, slots=True)
class Offer:
    """What a server offers, and the era of the protocol in which it speaks."""

    tools: tuple[mcp_types.Tool, ...]
    era: str


async def list_tools(endpoint: Endpoint, *, most: int) -> Offer:
    """Return up to `most` tools of a server; raise `ToolError` when it cannot be asked."""
    async with _connected(endpoint) as client:
        tools: list[mcp_types.Tool] = []
        cursor: str | None = None
        for _ in range(MAX_PAGES):
            page = await client.list_tools(cursor=cursor)
            tools.extend(page.tools)
            cursor = page.next_cursor
            if cursor is None or len(tools) >= most:
                break
        version = client.protocol_version
        era = version if version in MODERN_PROTOCOL_VERSIONS else LEGACY
        return Offer(tuple(tools[:most]), era)


async def call_tool(
    endpoint: Endpoint,
    tool: str,
    arguments: Mapping[str, Any],
    *,
    traceparent: str | None,
    listed: bool,
) -> Any:
    """Call a tool and return its result as JSON values; raise `ToolError` when it fails.

    `listed` asks for the server's list first, for tools whose arguments it wants in headers.
    """
    request = mcp_types.CallToolRequest(
        params=mcp_types.CallToolRequestParams(
            name=tool,
            arguments=dict(arguments),
            _meta={"traceparent": traceparent} if traceparent else None,
        )
    )
    async with _connected(endpoint) as client:
        if listed:
            await client.list_tools()
        # Not `client.call_tool`: it holds results against a schema that the server chose.
        result = await client.session.send_request(request, mcp_types.CallToolResult)
    if result.is_error:
        said = _without(endpoint.token, tool_text(result))
        raise ToolError("tool_error", said or "The tool failed and does not say why.")
    return tool_data(result)


@asynccontextmanager
async def _connected(endpoint: Endpoint) -> AsyncIterator[Client]:
    transport = _BoundedTransport(verify=_trusted())
    headers = {"Accept-Encoding": "identity"}
    if endpoint.token:
        headers["Authorization"] = f"Bearer {endpoint.token}"
    try:
        async with (
            httpx2.AsyncClient(
                transport=transport,
                headers=headers,
                # Whoever calls bounds the whole; a second clock would tell another reason.
                timeout=httpx2.Timeout(None, connect=CONNECT_SECONDS),
                trust_env=False,
            ) as http,
            Client(
                streamable_http_client(endpoint.url, http_client=http),
                mode=endpoint.era,
                cache=None,
            ) as client,
        ):
            yield client
    except Exception as error:
        failure = _translated(endpoint.name, error, transport.refused)
        failure.message = _without(endpoint.token, failure.message)
        raise failure from error


@lru_cache
def _trusted() -> ssl.SSLContext:
    """Return what servers' certificates are held against; reading it anew takes 20 ms."""
    return ssl.create_default_context()


class _BoundedTransport(httpx2.AsyncHTTPTransport):
    """Ends answers that are too long and remembers the status of the last refusal."""

    refused: int | None = None

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        response = await super().handle_async_request(request)
        if response.status_code >= httpx2.codes.BAD_REQUEST:
            self.refused = response.status_code
        if response.headers.get("content-encoding", "identity") != "identity":
            await response.aclose()
            raise httpx2.DecodingError("compressed without being asked", request=request)
        assert isinstance(response.stream, httpx2.AsyncByteStream)
        response.stream = _BoundedStream(response.stream)
        return response


class _BoundedStream(httpx2.AsyncByteStream):
    def __init__(self, stream: httpx2.AsyncByteStream) -> None:
        self._stream = stream

    async def __aiter__(self) -> AsyncIterator[bytes]:
        left = MAX_ANSWER_BYTES
        async for chunk in self._stream:
            left -= len(chunk)
            if left < 0:
                raise httpx2.DecodingError(f"more than {MAX_ANSWER_BYTES} bytes")
            yield chunk

    async def aclose(self) -> None:
        await self._stream.aclose()


def _translated(server: str, error: Exception, refused: int | None) -> ToolError:
    """Return what a failure means, in words that hold nothing of tokens, headers and traces."""
    causes = tuple(_leaves(error))
    for cause in causes:
        if isinstance(cause, ToolError):
            return cause
    if refused in {401, 403}:
        return ToolError("unauthorized", f"Server {server!r} does not accept the credential.")
    if refused is not None and (refused == 429 or refused >= 500):  # noqa: PLR2004 (HTTP)
        return TransientError("server_error", f"Server {server!r} answers with {refused}.")
    for cause in causes:
        if isinstance(cause, MCPError) and cause.error.code != mcp_types.PARSE_ERROR:
            return ToolError("server_error", f"Server {server!r}: {cause.error.message[:500]}")
        if isinstance(cause, MCPError | httpx2.DecodingError | ValidationError | ValueError):
            return ToolError("bad_answer", f"Server {server!r} answers with what is no MCP.")
    return TransientError("unreachable", f"Server {server!r} cannot be reached.")


def _without(token: str | None, words: str) -> str:
    """Return words of a server without the token, which it may repeat."""
    return words.replace(token, "[credential]") if token else words


def _leaves(error: BaseException) -> Iterator[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        for part in error.exceptions:
            yield from _leaves(part)
    else:
        yield error
