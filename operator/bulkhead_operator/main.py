"""The process: answers probes at once, waits for its turn to lead, leads, and leaves in order."""

import asyncio
import secrets
import signal
import time
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack, suppress
from importlib.metadata import PackageNotFoundError, version
from typing import Final

import structlog
from prometheus_client import start_http_server

from bulkhead_operator.cluster.client import CONNECTIONS, ApiClient
from bulkhead_operator.cluster.credentials import Credentials
from bulkhead_operator.cluster.lease import Lease, LeaseTerms
from bulkhead_operator.cluster.runtime_api import RuntimeClient
from bulkhead_operator.context import Context
from bulkhead_operator.metrics import Metrics
from bulkhead_operator.probes import Heartbeat, Probes
from bulkhead_operator.reconcile.keys import Controllers
from bulkhead_operator.settings import Settings
from bulkhead_operator.startup import Process, compose
from bulkhead_operator.term import Term

OUT_OF_REACH_SECONDS: Final = 60.0

_log = structlog.get_logger(__name__)


def installed_version() -> str:
    """Return the version that is installed."""
    try:
        return version("bulkhead")
    except PackageNotFoundError:
        return "0.0.0"


class Operator:
    """One replica: a standby until it leads."""

    def __init__(
        self,
        settings: Settings,
        credentials: Credentials,
        domain: Callable[[Context], Controllers],
    ) -> None:
        self._settings = settings
        self._credentials = credentials
        self._domain = domain
        self._metrics = Metrics(installed_version(), settings.resource_prices)
        self._stop = asyncio.Event()
        self._heartbeat = Heartbeat()
        self._lease: Lease | None = None
        self._term: Term | None = None

    async def run(self) -> None:
        """Run until asked to stop by SIGTERM, SIGINT or `stop`."""
        self._take_signals()
        async with AsyncExitStack() as stack:
            await self._serve(stack)
            agent = f"bulkhead-operator/{installed_version()}"
            client = await stack.enter_async_context(self._client(agent))
            # A connection of its own: behind the writes of a burst the renewal could come too late.
            leases = await stack.enter_async_context(self._client(agent, connections=1))
            runtimes = await stack.enter_async_context(RuntimeClient(user_agent=agent))
            process = Process(
                settings=self._settings,
                credentials=self._credentials,
                client=client,
                runtimes=runtimes,
                metrics=self._metrics,
                domain=self._domain,
            )
            while not self._stop.is_set():
                await self._one_term(process, Lease(leases, self._lease_terms()))

    def stop(self) -> None:
        """Ask for an orderly end."""
        self._stop.set()

    def alive(self) -> Sequence[str]:
        """Return what a restart of this process would mend."""
        term = self._term
        return [*self._heartbeat.problems(), *(term.alive() if term else ())]

    def ready(self) -> Sequence[str]:
        """Return why this replica could not take over, or has not yet."""
        if self._term is not None:
            return self._term.ready()
        heard = self._lease.heard if self._lease else float("-inf")
        if time.monotonic() - heard > OUT_OF_REACH_SECONDS:
            return ["the API server was not reached in the last minute"]
        return ()

    def _client(self, agent: str, connections: int = CONNECTIONS) -> ApiClient:
        return ApiClient(
            self._credentials,
            user_agent=agent,
            on_answer=self._answered,
            connections=connections,
        )

    async def _one_term(self, process: Process, lease: Lease) -> None:
        self._lease = lease
        if not await self._unless_stopped(lease):
            return
        _log.info("leading", identity=self._settings.identity)
        self._metrics.leader.set(1)
        self._term = compose(process, lease)
        try:
            await self._term.run(self._stop)
        finally:
            self._term = None
            self._metrics.leader.set(0)
            self._metrics.objects.forget_all()
            await lease.release()

    async def _unless_stopped(self, lease: Lease) -> bool:
        stopped = asyncio.create_task(self._stop.wait())
        acquired = asyncio.create_task(lease.acquire())
        done, pending = await asyncio.wait((stopped, acquired), return_when=asyncio.FIRST_COMPLETED)
        for task in pending:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
        if acquired in done:
            acquired.result()
        return acquired in done and not self._stop.is_set()

    async def _serve(self, stack: AsyncExitStack) -> None:
        if self._settings.metrics_port:
            # In a thread of its own: a scrape of many series must not delay a reconcile.
            server, _ = start_http_server(
                self._settings.metrics_port, registry=self._metrics.registry
            )
            stack.callback(server.server_close)
            stack.callback(server.shutdown)
        probes = Probes(self._settings.probes_port, alive=self.alive, ready=self.ready)
        await probes.start()
        stack.push_async_callback(probes.stop)
        beat = asyncio.create_task(self._heartbeat.run())
        stack.callback(beat.cancel)

    def _lease_terms(self) -> LeaseTerms:
        settings = self._settings
        return LeaseTerms(
            namespace=settings.namespace,
            name=settings.lease_name,
            # A restarted container has its predecessor's name but not its knowledge.
            identity=f"{settings.identity}_{secrets.token_hex(4)}",
            duration=settings.lease_duration_seconds,
            renew_every=settings.lease_renew_seconds,
        )

    def _answered(self, method: str, status: int) -> None:
        self._metrics.requests.labels(method, str(status)).inc()

    def _take_signals(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.stop)
