"""A thin asyncio client of the API server: bytes in, JSON out, nothing deserialized into models.

Requests have a pool of connections of their own, so that long streams never take a place.
Idempotent calls are retried a bounded time; a write asks its fence right before every single
sending. What is under way when leadership ends is cancelled by whoever ends the term: a write that
takes long while the lease is renewed must not be cut, or a slow API server would get it for ever.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Final, Self, TypeVar
from urllib.parse import quote, urlencode

import aiohttp
import orjson

from bulkhead_operator.backoff import Backoff
from bulkhead_operator.cluster.answers import RETRIED, error_of, retry_after
from bulkhead_operator.cluster.connections import (
    CONNECT_SECONDS,
    Answer,
    Connections,
    NoAnswerError,
)
from bulkhead_operator.cluster.credentials import Credentials
from bulkhead_operator.cluster.port import Manifest
from bulkhead_operator.errors import ClusterError

JSON: Final = "application/json"
MERGE_PATCH: Final = "application/merge-patch+json"
JSON_PATCH: Final = "application/json-patch+json"
APPLY_PATCH: Final = "application/apply-patch+yaml"
METADATA_LIST: Final = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"

ATTEMPTS: Final = 5
LONGEST_WAIT: Final = 10.0
REQUEST_SECONDS: Final = 30.0
SILENCE_SECONDS: Final = 70.0
"""Bookmarks come about every minute; a watch silent for longer is a half-open connection."""
CONNECTIONS: Final = 32
"""An API server answers in milliseconds; more at once only wait there, at buffers for each."""

Fence = Callable[[], object]
"""Raises `LeaseLost` when this process may not write any more."""

Query = Mapping[str, str]

Part = TypeVar("Part")


def unfenced() -> None:
    """Let every write pass: for those that another guard makes safe, or that any process may do."""


@dataclass(frozen=True, slots=True)
class _Call:
    method: str
    path: str
    query: Query
    body: bytes | None
    headers: Mapping[str, str]
    idempotent: bool = True
    fence: Fence | None = None

    def __str__(self) -> str:
        return f"{self.method} {self.path}"

    def target(self) -> str:
        """Return path and query as they go out."""
        query = f"?{urlencode(self.query)}" if self.query else ""
        return f"{quote(self.path)}{query}"


class _Unanswered(ClusterError):  # noqa: N818 (kept apart from an answer that is an error)
    """No answer came; `sent` tells whether the API server may have acted all the same."""

    def __init__(self, call: _Call, why: str, *, sent: bool) -> None:
        super().__init__("Unreachable", f"{call}: {why}")
        self.sent = sent


class ApiClient:
    """Reads, writes and watches; raises the `ClusterError` subclasses and nothing else."""

    def __init__(
        self,
        credentials: Credentials,
        *,
        user_agent: str,
        on_answer: Callable[[str, int], None] = lambda _method, _status: None,
        connections: int = CONNECTIONS,
    ) -> None:
        """Call `on_answer` with the method and status (0 for none) of every request.

        More than `connections` requests at once wait for each other.
        """
        self._credentials = credentials
        self._agent = user_agent
        self._on_answer = on_answer
        self._limit = connections
        self._requests: Connections | None = None
        self._watches: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        tls = self._credentials.tls()
        self._requests = Connections(
            self._credentials.server,
            tls,
            limit=self._limit,
            headers=f"User-Agent: {self._agent}\r\n",
        )
        self._watches = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, ssl=tls),
            # Compressed answers cost more CPU than they save on a cluster's own network.
            headers={"User-Agent": self._agent, "Accept-Encoding": "identity"},
            cookie_jar=aiohttp.DummyCookieJar(),
            read_bufsize=2**18,
        )
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._requests is not None:
            self._requests.close()
        if self._watches is not None:
            await self._watches.close()

    async def read(self, path: str, query: Query | None = None, *, accept: str = JSON) -> Manifest:
        """Return one object or one page of a list."""
        return await self._attempts(_Call("GET", path, query or {}, None, {"Accept": accept}))

    async def write(
        self,
        method: str,
        path: str,
        body: Any,
        *,
        fence: Fence,
        content_type: str = JSON,
        query: Query | None = None,
    ) -> Manifest:
        """Send one write and return its answer; a POST is never sent twice after it may have acted.

        Raises `LeaseLost` (from `fence`) before anything is sent.
        """
        call = _Call(
            method,
            path,
            query or {},
            orjson.dumps(body),
            {"Accept": JSON, "Content-Type": content_type},
            idempotent=method != "POST",
            fence=fence,
        )
        return await self._attempts(call)

    @asynccontextmanager
    async def watch(self, path: str, query: Query) -> AsyncIterator[AsyncIterator[bytes]]:
        """Open a watch and give its lines; raises `ClusterError` on an answer that is an error."""
        session = self._opened(self._watches)
        timeout = aiohttp.ClientTimeout(
            total=None, sock_connect=CONNECT_SECONDS, sock_read=SILENCE_SECONDS
        )
        call = _Call("GET", path, {**query, "watch": "true"}, None, {"Accept": JSON})
        try:
            async with session.get(
                self._credentials.server + path,
                params=call.query,
                headers={**call.headers, **self._identity()},
                timeout=timeout,
            ) as response:
                self._on_answer("WATCH", response.status)
                if response.status != 200:  # noqa: PLR2004 (the one good answer)
                    self._note_refusal(response.status)
                    raise error_of(response.status, await response.read(), str(call))
                yield _events(response, str(call))
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise _Unanswered(call, f"no answer ({type(error).__name__})", sent=True) from error

    async def _attempts(self, call: _Call) -> Manifest:
        backoff = Backoff(0.1, LONGEST_WAIT)
        for attempt in range(1, ATTEMPTS + 1):
            try:
                answer = await self._once(call)
            except _Unanswered as error:
                if attempt == ATTEMPTS or (error.sent and not call.idempotent):
                    raise
                await asyncio.sleep(backoff.next())
                continue
            if answer.status < 300:  # noqa: PLR2004 (the good answers end here)
                return _decoded(answer.content, call)
            if attempt == ATTEMPTS or not self._may_retry(call, answer.status, attempt):
                raise error_of(answer.status, answer.content, str(call))
            wait = retry_after(answer.retry_after) or 0.0
            await asyncio.sleep(min(LONGEST_WAIT, max(backoff.next(), wait)))
        raise AssertionError("the last attempt returns or raises")

    def _may_retry(self, call: _Call, status: int, attempt: int) -> bool:
        if status == 401:  # noqa: PLR2004 (a renewed token may be on disk already)
            return attempt == 1
        # 429 says that nothing was done; the others leave that open.
        return status in RETRIED and (call.idempotent or status == 429)  # noqa: PLR2004

    async def _once(self, call: _Call) -> Answer:
        try:
            answer = await self._opened(self._requests).exchange(
                call.method,
                call.target(),
                self._lines(call),
                call.body,
                seconds=REQUEST_SECONDS,
                fence=call.fence,
            )
        except NoAnswerError as error:
            self._on_answer(call.method, 0)
            raise _Unanswered(call, str(error), sent=error.sent) from error
        self._on_answer(call.method, answer.status)
        self._note_refusal(answer.status)
        return answer

    def _note_refusal(self, status: int) -> None:
        if status == 401:  # noqa: PLR2004 (Unauthorized)
            self._credentials.token.refused()

    def _lines(self, call: _Call) -> str:
        headers = {**call.headers, **self._identity()}
        return "".join(f"{name}: {value}\r\n" for name, value in headers.items())

    def _identity(self) -> Mapping[str, str]:
        token = self._credentials.token.current()
        return {"Authorization": f"Bearer {token}"} if token else {}

    @staticmethod
    def _opened(part: Part | None) -> Part:
        if part is None:
            raise RuntimeError("the client is used outside of its `async with`")
        return part


LONGEST_LINE: Final = 16 * 2**20
"""Objects are at most 1.5 MiB in etcd; this bounds what a broken server can make us keep."""


async def _events(response: aiohttp.ClientResponse, what: str) -> AsyncIterator[bytes]:
    rest = bytearray()
    async for chunk in response.content.iter_any():
        rest += chunk
        if b"\n" not in chunk:
            if len(rest) > LONGEST_LINE:
                raise ClusterError("LineTooLong", f"{what}: a line of over {LONGEST_LINE} bytes")
            continue
        *lines, tail = bytes(rest).split(b"\n")
        rest = bytearray(tail)
        for line in lines:
            if line:
                yield line


def _decoded(content: bytes, call: _Call) -> Manifest:
    try:
        document = orjson.loads(content)
    except orjson.JSONDecodeError as error:
        raise ClusterError("InvalidAnswer", f"{call}: the answer is not JSON") from error
    if not isinstance(document, dict):
        raise ClusterError("InvalidAnswer", f"{call}: the answer is not an object")
    return document
