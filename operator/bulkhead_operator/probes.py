"""Tells the kubelet how we are: alive, and ready. Both answers name what is wrong.

Liveness fails only for what a restart mends: a stuck event loop, a watch that stopped trying, a
deafness that a restart within the process did not mend. An API server that is away is none of it.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from aiohttp import web

BEAT_SECONDS: Final = 1.0
LONGEST_LAG: Final = 5.0

Check = Callable[[], Sequence[str]]
"""Returns what is wrong, nothing when all is well."""


class Heartbeat:
    """Measures how late the event loop is."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lag = 0.0

    async def run(self) -> None:
        """Measure until cancelled."""
        while True:
            began = self._clock()
            await asyncio.sleep(BEAT_SECONDS)
            self.measured(self._clock() - began - BEAT_SECONDS)

    def measured(self, lag: float) -> None:
        """Note by how many seconds the loop was late."""
        self._lag = lag

    def problems(self) -> Sequence[str]:
        """Return what is wrong with the loop."""
        if self._lag > LONGEST_LAG:
            return (f"the event loop was {self._lag:.1f} s late",)
        return ()


class Probes:
    """Serves /livez (also as /healthz) and /readyz."""

    def __init__(self, port: int, *, alive: Check, ready: Check) -> None:
        self._port = port
        application = web.Application()
        application.add_routes(
            [
                web.get("/livez", _handler(alive)),
                web.get("/healthz", _handler(alive)),
                web.get("/readyz", _handler(ready)),
            ]
        )
        self._runner = web.AppRunner(application, access_log=None)

    async def start(self) -> None:
        """Begin to answer."""
        await self._runner.setup()
        await web.TCPSite(self._runner, port=self._port).start()

    async def stop(self) -> None:
        """End."""
        await self._runner.cleanup()


def _handler(check: Check) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    async def answer(_: web.Request) -> web.StreamResponse:
        problems = check()
        if problems:
            return web.Response(status=503, text="\n".join(problems) + "\n")
        return web.Response(text="ok\n")

    return answer
