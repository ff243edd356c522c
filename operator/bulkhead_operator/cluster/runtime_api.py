"""Asks the organizations' runtimes what they have loaded, over their internal port.

A runtime runs a tenant's code, so its answer is bounded, validated, and never followed elsewhere.
"""

from collections.abc import Sequence
from types import TracebackType
from typing import Final, Self

import aiohttp
from pydantic import ValidationError

from bulkhead_api.names import INTERNAL_PORT
from bulkhead_api.runtime_state import RuntimeState
from bulkhead_operator.errors import ClusterError

LONGEST_ANSWER: Final = 4 * 2**20
LONGEST_WAIT: Final = 30.0
SLACK_SECONDS: Final = 5.0
CONNECT_SECONDS: Final = 2.0
CONNECTIONS: Final = 200


class RuntimeClient:
    """The port `Runtimes` over HTTP."""

    def __init__(self, *, user_agent: str, port: int = INTERNAL_PORT) -> None:
        self._agent = user_agent
        self._port = port
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=CONNECTIONS, keepalive_timeout=15),
            headers={"User-Agent": self._agent},
            cookie_jar=aiohttp.DummyCookieJar(),
        )
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._session is not None:
            await self._session.close()

    async def state(
        self,
        address: str,
        token: str,
        *,
        configuration_hash: str,
        wait_seconds: float,
        include: Sequence[str] = (),
    ) -> RuntimeState:
        """Ask one replica what is loaded; raises `ClusterError` without the token or the answer."""
        if self._session is None:
            raise RuntimeError("the client is used outside of its `async with`")
        host = f"[{address}]" if ":" in address else address
        wait = min(LONGEST_WAIT, max(0.0, wait_seconds))
        try:
            async with self._session.get(
                f"http://{host}:{self._port}/internal/state",
                params=[
                    ("hash", configuration_hash),
                    ("waitSeconds", f"{wait:g}"),
                    *(("include", what) for what in include),
                ],
                headers={"Authorization": f"Bearer {token}"},
                timeout=aiohttp.ClientTimeout(
                    total=wait + SLACK_SECONDS, sock_connect=CONNECT_SECONDS
                ),
                allow_redirects=False,
            ) as response:
                content = await _bounded(response)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise ClusterError(
                "RuntimeUnreachable",
                f"runtime at {address} did not answer ({type(error).__name__})",
            ) from error
        if response.status != 200:  # noqa: PLR2004 (the one good answer)
            raise ClusterError(
                "RuntimeRefused",
                f"runtime at {address} answered {response.status}",
                response.status,
            )
        return _validated(address, content)


async def _bounded(response: aiohttp.ClientResponse) -> bytes:
    content = bytearray()
    async for chunk in response.content.iter_any():
        content += chunk
        if len(content) > LONGEST_ANSWER:
            raise aiohttp.ClientPayloadError("too long")
    return bytes(content)


def _validated(address: str, content: bytes) -> RuntimeState:
    try:
        return RuntimeState.model_validate_json(content)
    except ValidationError as error:
        # The content is the tenant's and stays out of messages; the field's name is ours.
        where = ".".join(str(part) for part in error.errors()[0]["loc"]) or "document"
        raise ClusterError(
            "RuntimeAnswerInvalid", f"runtime at {address} answered with an invalid {where}"
        ) from None
