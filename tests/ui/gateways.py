"""A gateway that is not ours: serves a runtime below a path of its own, as many platforms do."""

import asyncio
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import aiohttp
from aiohttp import web

PREFIX = "/organizations/acme"
_OF_THE_CONNECTION = frozenset({"connection", "transfer-encoding", "content-length", "host"})


@contextmanager
def in_front_of(upstream: str) -> Iterator[str]:
    """Run a gateway on its own thread; yields the address that stands for the runtime's."""
    loop = asyncio.new_event_loop()
    runner = loop.run_until_complete(_start(upstream))
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    host, port = runner.addresses[0]
    try:
        yield f"http://{host}:{port}{PREFIX}"
    finally:
        asyncio.run_coroutine_threadsafe(runner.cleanup(), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


async def _start(upstream: str) -> web.AppRunner:
    async def forward(request: web.Request) -> web.StreamResponse:
        path = request.path_qs.removeprefix(PREFIX)
        async with (
            aiohttp.ClientSession(auto_decompress=False) as client,
            client.request(
                request.method,
                f"{upstream}{path}",
                headers=_end_to_end(request.headers),
                data=await request.read(),
                allow_redirects=False,
            ) as answer,
        ):
            response = web.StreamResponse(status=answer.status, headers=_end_to_end(answer.headers))
            await response.prepare(request)
            async for chunk in answer.content.iter_any():
                await response.write(chunk)
            return response

    app = web.Application()
    app.router.add_route("*", f"{PREFIX}/{{path:.*}}", forward)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    return runner


def _end_to_end(headers: Mapping[str, str]) -> dict[str, str]:
    return {
        name: value for name, value in headers.items() if name.lower() not in _OF_THE_CONNECTION
    }
