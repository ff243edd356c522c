"""Stands between the operator and the API server, and breaks what it is told to break.

Speaks plain HTTP to the operator, so that no certificate of its own is needed.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import aiohttp
import orjson
import yaml
from aiohttp import web
from yarl import URL

from bulkhead_operator.cluster.credentials import from_kubeconfig


@dataclass(frozen=True)
class Fault:
    """What happens to requests that `matches`: an answer, an ERROR in the stream, or silence."""

    matches: Callable[[web.BaseRequest], bool]
    status: int = 0
    in_stream: int = 0
    silent: bool = False
    headers: tuple[tuple[str, str], ...] = ()


def watching(plural: str) -> Callable[[web.BaseRequest], bool]:
    """Match the watches of a kind."""

    def matches(request: web.BaseRequest) -> bool:
        return request.path.endswith(f"/{plural}") and request.query.get("watch") == "true"

    return matches


def asking(method: str, ending: str) -> Callable[[web.BaseRequest], bool]:
    """Match a method on paths with that ending."""

    def matches(request: web.BaseRequest) -> bool:
        return request.method == method and request.path.endswith(ending)

    return matches


class FaultProxy:
    """Forwards everything; `fault` applies to new requests, `cut` also to what is open."""

    def __init__(self, target: Path) -> None:
        self._credentials = from_kubeconfig(target)
        self._open: set[asyncio.Task[None]] = set()
        self.fault: Fault | None = None
        self.hits = 0
        """How many requests the current faults met."""
        self.url = ""

    @asynccontextmanager
    async def serving(self, kubeconfig: Path) -> AsyncIterator[Self]:
        """Serve, and write a kubeconfig that leads here."""
        connector = aiohttp.TCPConnector(ssl=self._credentials.tls(), limit=0)
        timeout = aiohttp.ClientTimeout(total=None)
        async with aiohttp.ClientSession(connector=connector, timeout=timeout) as self._upstream:
            runner = web.ServerRunner(web.Server(self._handle), shutdown_timeout=0.1)
            await runner.setup()
            site = web.TCPSite(runner, "127.0.0.1", 0)
            await site.start()
            port = runner.addresses[0][1]
            self.url = f"http://127.0.0.1:{port}"
            _write_kubeconfig(kubeconfig, self.url)
            try:
                yield self
            finally:
                self.cut()
                await runner.cleanup()

    def cut(self) -> None:
        """Drop every connection that has a request under way."""
        for task in self._open:
            task.cancel()

    def break_with(self, fault: Fault | None) -> None:
        """Put a fault in place, or take it away, and drop what is open."""
        self.fault = fault
        self.hits = 0
        self.cut()

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        fault = self.fault
        if fault is None or not fault.matches(request):
            return await self._forward(request)
        self.hits += 1
        if fault.in_stream:
            return await _stream_error(request, fault.in_stream)
        if fault.silent:
            response = web.StreamResponse()
            await response.prepare(request)
            await asyncio.Event().wait()
        status = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": fault.status}
        return web.Response(
            status=fault.status,
            body=orjson.dumps({**status, "message": "broken on purpose", "reason": "Broken"}),
            content_type="application/json",
            headers=dict(fault.headers),
        )

    async def _forward(self, request: web.BaseRequest) -> web.StreamResponse:
        task = asyncio.current_task()
        assert task is not None
        self._open.add(task)
        try:
            return await self._relay(request)
        finally:
            self._open.discard(task)

    async def _relay(self, request: web.BaseRequest) -> web.StreamResponse:
        # Still encoded, so that the API server sees the query exactly as it was sent.
        target = URL(self._credentials.server + request.raw_path, encoded=True)
        names = ("Content-Type", "Accept", "User-Agent")
        headers = {name: request.headers[name] for name in names if name in request.headers}
        async with self._upstream.request(
            request.method,
            target,
            data=await request.read() or None,
            headers=headers,
        ) as answer:
            response = web.StreamResponse(status=answer.status)
            response.content_type = answer.content_type
            await response.prepare(request)
            async for chunk in answer.content.iter_any():
                await response.write(chunk)
            await response.write_eof()
            return response


async def _stream_error(request: web.BaseRequest, code: int) -> web.StreamResponse:
    response = web.StreamResponse()
    response.content_type = "application/json"
    await response.prepare(request)
    error = {"kind": "Status", "code": code, "message": "broken on purpose", "reason": "Broken"}
    await response.write(orjson.dumps({"type": "ERROR", "object": error}) + b"\n")
    await response.write_eof()
    return response


def _write_kubeconfig(path: Path, url: str) -> None:
    content = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "proxy",
        "clusters": [{"name": "proxy", "cluster": {"server": url}}],
        "users": [{"name": "proxy", "user": {}}],
        "contexts": [{"name": "proxy", "context": {"cluster": "proxy", "user": "proxy"}}],
    }
    path.write_text(yaml.safe_dump(content))
