"""The HTTP client for addresses that others chose: guarded at the socket, bounded in everything."""

import socket
import zlib
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final

import aiohttp
from aiohttp.abc import AbstractResolver
from yarl import URL

from bulkhead_runtime.tools.errors import ToolError, TransientError

MAX_CONNECTIONS: Final = 64
MAX_CONNECTIONS_PER_HOST: Final = 8
MAX_HEADER_BYTES: Final = 16_384
CHUNK_BYTES: Final = 65_536

_INFLATED: Final = {"gzip": zlib.MAX_WBITS | 16, "deflate": zlib.MAX_WBITS}
_TRY_AGAIN: Final = frozenset({429, 502, 503, 504})


class ForbiddenAddressError(Exception):
    """A host leads to an address that may not be connected to; names no address."""


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer; `truncated` tells that more came than was wanted."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    truncated: bool

    @property
    def media_type(self) -> str:
        """Return the media type in lower case, without parameters."""
        return self.headers.get("Content-Type", "").partition(";")[0].strip().lower()


class GuardedClient:
    """Sends single requests; follows no redirect and keeps no cookie.

    `permits` is asked about every address just before a socket connects to it. `resolver` is the
    system's where none is given.
    """

    def __init__(
        self, permits: Callable[[str], bool], resolver: AbstractResolver | None = None
    ) -> None:
        self._permits = permits
        self._resolver = resolver
        self._session: aiohttp.ClientSession | None = None

    async def request(
        self,
        method: str,
        url: URL,
        *,
        max_bytes: int,
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
    ) -> Answer:
        """Return the answer, up to `max_bytes` of it after decompression; a body is JSON.

        Raises `ToolError`: `forbidden_address`, `unreachable`, `bad_answer`. How long it takes is
        for the caller to bound.
        """
        sent = {"Accept-Encoding": "gzip, deflate", **(headers or {})}
        if body is not None:
            sent["Content-Type"] = "application/json"
        async with (
            _translated(url),
            self._opened().request(
                method, url, headers=sent, data=body, allow_redirects=False
            ) as response,
        ):
            content, truncated = await _read(response, max_bytes)
            return Answer(response.status, response.headers, content, truncated)

    async def aclose(self) -> None:
        """Close every connection."""
        if self._session is not None:
            await self._session.close()

    def _opened(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(
                    limit=MAX_CONNECTIONS,
                    limit_per_host=MAX_CONNECTIONS_PER_HOST,
                    use_dns_cache=False,
                    # One address after the other: in a race a forbidden one could go unnoticed.
                    happy_eyeballs_delay=None,
                    resolver=self._resolver,
                    socket_factory=self._socket,
                ),
                cookie_jar=aiohttp.DummyCookieJar(),
                trust_env=False,
                auto_decompress=False,
                timeout=aiohttp.ClientTimeout(total=None),
                max_line_size=MAX_HEADER_BYTES,
                max_field_size=MAX_HEADER_BYTES,
                headers={"User-Agent": "bulkhead"},
            )
        return self._session

    def _socket(self, address: Any) -> socket.socket:
        """Return the socket for an address that was resolved, just before it connects to it."""
        family, kind, protocol, _, where = address
        if not self._permits(str(where[0])):
            raise ForbiddenAddressError
        return socket.socket(family, kind, protocol)


def is_transient(status: int) -> bool:
    """Tell whether an HTTP status says that the same may work later."""
    return status in _TRY_AGAIN


@asynccontextmanager
async def _translated(url: URL) -> AsyncIterator[None]:
    """Say in words what went wrong, without addresses, headers or bodies."""
    try:
        yield
    except ForbiddenAddressError:
        raise ToolError(
            "forbidden_address",
            f"Host {url.host!r} leads to an address that is not public: it may not be called.",
        ) from None
    except aiohttp.ClientConnectorDNSError:
        raise ToolError("unreachable", f"Host {url.host!r} has no address.") from None
    except (aiohttp.ClientConnectorCertificateError, aiohttp.ClientConnectorSSLError):
        raise ToolError("unreachable", f"Host {url.host!r} proves no trusted identity.") from None
    except (TimeoutError, aiohttp.ClientConnectionError, OSError):
        raise TransientError("unreachable", f"Host {url.host!r} cannot be reached.") from None
    except (aiohttp.ClientError, ValueError, zlib.error):
        raise ToolError("bad_answer", f"Host {url.host!r} answers with what is no HTTP.") from None


async def _read(response: aiohttp.ClientResponse, max_bytes: int) -> tuple[bytes, bool]:
    encoding = response.headers.get("Content-Encoding", "identity").strip().lower()
    inflate = None
    if encoding in _INFLATED:
        inflate = zlib.decompressobj(_INFLATED[encoding])
    elif encoding not in {"", "identity"}:
        raise ToolError("bad_answer", "The answer is compressed in a way that was not asked for.")
    body = bytearray()
    async for chunk in response.content.iter_chunked(CHUNK_BYTES):
        left = max_bytes + 1 - len(body)
        body += inflate.decompress(chunk, left) if inflate else chunk[:left]
        if len(body) > max_bytes:
            return bytes(body[:max_bytes]), True
    return bytes(body), False
