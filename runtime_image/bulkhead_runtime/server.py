"""Serves both ports and ends without losing anything.

On SIGTERM the process fails readiness and says `Connection: close` on every answer, but serves on
while endpoints learn of it; then it stops accepting and lets what runs end, bounded by the longest
execution. uvicorn does not see the signals: its own shutdown begins only after all that.
"""

import asyncio
import gc
import logging
import signal
import socket
import sys
from typing import Final

import uvicorn

from bulkhead_runtime.api.internal import InternalApp
from bulkhead_runtime.api.protocol import BoundedProtocol
from bulkhead_runtime.api.public import PublicApp
from bulkhead_runtime.api.types import App
from bulkhead_runtime.runtime import Runtime
from bulkhead_runtime.settings import Settings

log = logging.getLogger(__name__)

KEEP_ALIVE_SECONDS: Final = 75
"""Longer than common clients and proxies keep an idle connection, so that they close it."""

BACKLOG: Final = 1024
CYCLES_AFTER_OBJECTS: Final = 10_000
SWITCH_SECONDS: Final = 0.002
"""How long a thread computes while another waits: five milliseconds, Python's own measure, would be
paid for each statement of the store beside a busy loop, and by the loop while spans are encoded."""

DEFAULT_LONGEST_EXECUTION_SECONDS: Final = 300


class Listener:
    """One port, served by uvicorn's protocol without its main loop, which polls."""

    def __init__(self, app: App, host: str, port: int) -> None:
        self._socket = _bind(host, port)
        config = uvicorn.Config(
            app,
            http=BoundedProtocol,
            ws="none",
            lifespan="off",
            loop="none",
            access_log=False,
            log_config=None,
            server_header=False,
            date_header=False,
            proxy_headers=False,
            timeout_keep_alive=KEEP_ALIVE_SECONDS,
            backlog=BACKLOG,
        )
        config.load()
        self._server = uvicorn.Server(config)
        self._server.lifespan = config.lifespan_class(config)

    async def start(self) -> None:
        """Accept connections."""
        await self._server.startup(sockets=[self._socket])

    async def stop(self, longest_seconds: float) -> None:
        """Stop accepting and let what runs end, cutting what takes longer."""
        self._server.config.timeout_graceful_shutdown = max(1, round(longest_seconds))
        await self._server.shutdown(sockets=[self._socket])

    def hurry(self) -> None:
        """Do not wait any longer for what runs."""
        self._server.force_exit = True


async def serve(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT; a second signal ends at once."""
    stopping = _Stopping()
    runtime = Runtime(settings)
    await runtime.start()
    internal = Listener(InternalApp(runtime), settings.host, settings.internal_port)
    public = Listener(PublicApp(runtime), settings.host, settings.public_port)
    await internal.start()
    await public.start()
    settle_interpreter()
    log.info("Serving", extra={"port": settings.public_port})
    await stopping.asked.wait()
    await _drain(runtime, settings.drain_seconds, stopping)
    hurry = asyncio.create_task(_hurry(public, stopping))
    await public.stop(_longest(runtime))
    hurry.cancel()
    await runtime.close()
    internal.hurry()
    await internal.stop(1)
    log.info("Stopped")


def settle_interpreter() -> None:
    """Let threads take turns quickly, and look for cycles seldom and only among what is new.

    Almost everything that a request leaves is freed by its counted references.
    """
    sys.setswitchinterval(SWITCH_SECONDS)
    gc.freeze()
    gc.set_threshold(CYCLES_AFTER_OBJECTS)


async def _drain(runtime: Runtime, seconds: float, stopping: "_Stopping") -> None:
    runtime.draining = True
    log.info("Draining", extra={"seconds": seconds})
    try:
        async with asyncio.timeout(seconds):
            await stopping.urgent.wait()
    except TimeoutError:
        return


async def _hurry(public: Listener, stopping: "_Stopping") -> None:
    await stopping.urgent.wait()
    public.hurry()


def _longest(runtime: Runtime) -> float:
    configuration = runtime.holder.current
    if configuration is None:
        return DEFAULT_LONGEST_EXECUTION_SECONDS
    return configuration.limits.max_execution_time_seconds


class _Stopping:
    """Hears signals: the first asks to stop, the second to hurry."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()
        self.urgent = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._hear)

    def _hear(self) -> None:
        if self.asked.is_set():
            self.urgent.set()
        self.asked.set()


def _bind(host: str, port: int) -> socket.socket:
    """Return a bound socket; `::` takes IPv4 too, and IPv4 alone serves where IPv6 is off."""
    if host == "::" and not socket.has_dualstack_ipv6():
        host = "0.0.0.0"
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    bound = socket.create_server(
        (host, port), family=family, backlog=BACKLOG, dualstack_ipv6=host == "::"
    )
    bound.setblocking(False)
    return bound
