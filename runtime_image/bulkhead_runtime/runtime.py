"""The composition root: everything one process is made of, opened and closed in one place."""

import asyncio
import platform
import time
from collections.abc import Callable, Collection, Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from bulkhead_api import names
from bulkhead_api.runtime_state import LoadedVersion, Measurement, PoolUsage, RuntimeState
from bulkhead_runtime.config.holder import ConfigurationHolder
from bulkhead_runtime.config.secrets import Token
from bulkhead_runtime.config.snapshot import Configuration
from bulkhead_runtime.config.watcher import watch
from bulkhead_runtime.errors import Problem
from bulkhead_runtime.events.bus import EventBus
from bulkhead_runtime.health import Health
from bulkhead_runtime.kernel.admission import Admission
from bulkhead_runtime.kernel.assembly import Neighbours, assemble
from bulkhead_runtime.kernel.background import Background
from bulkhead_runtime.kernel.execution import DIRECT
from bulkhead_runtime.kernel.reports import Reports
from bulkhead_runtime.kernel.watched_models import WatchedModels
from bulkhead_runtime.kernel.window import ContextUse
from bulkhead_runtime.models.image_lane.images import Images
from bulkhead_runtime.models.router import ModelRouter
from bulkhead_runtime.observability import Observability
from bulkhead_runtime.packages.artifacts import Artifacts
from bulkhead_runtime.packages.attempts import Attempts
from bulkhead_runtime.packages.blobs import Blobs
from bulkhead_runtime.packages.health_checks import HealthChecks
from bulkhead_runtime.packages.libraries import libraries
from bulkhead_runtime.packages.sources import PackageSources
from bulkhead_runtime.policy.administration import PolicyAdministration
from bulkhead_runtime.policy.engine import CompiledPolicies
from bulkhead_runtime.readiness import Readiness
from bulkhead_runtime.recorder import Recorder
from bulkhead_runtime.routing.versions import VersionRouter
from bulkhead_runtime.settings import Settings
from bulkhead_runtime.standings import STORE_SECONDS, Standings, runtime_version
from bulkhead_runtime.store.port import Session
from bulkhead_runtime.store.retention import RetentionSweep
from bulkhead_runtime.stores import Stores, open_stores
from bulkhead_runtime.telemetry.flights import Flights
from bulkhead_runtime.telemetry.instruments import Instruments, Reading
from bulkhead_runtime.telemetry.live import LiveMetrics
from bulkhead_runtime.telemetry.metrics import Metrics
from bulkhead_runtime.tools.registry import ToolRegistry
from bulkhead_runtime.tools.reports import ToolReports
from bulkhead_runtime.tools.runner import ToolRunner
from bulkhead_runtime.tools.surroundings import Surroundings
from bulkhead_runtime.upkeep import Upkeep

_SECRET_FOLDERS: Final = (
    names.API_KEY_FOLDER,
    names.INTERNAL_FOLDER,
    names.PROVIDERS_FOLDER,
    names.API_KEYS_FOLDER,
    names.OIDC_FOLDER,
    names.TOOLS_FOLDER,
    names.MCP_FOLDER,
    names.REGISTRIES_FOLDER,
    *(
        file.partition("/")[0]
        for file in (
            names.POSTGRES_DSN_FILE,
            names.REDIS_URL_FILE,
            names.TRACING_HEADERS_FILE,
            names.SENTRY_DSN_FILE,
        )
    ),
)


class Runtime:
    """One organization's runtime; made inside the event loop that serves it.

    `stores` stand in for those that the settings name, `instruments` for those that count.
    """

    def __init__(
        self,
        settings: Settings,
        stores: Stores | None = None,
        instruments: Instruments | None = None,
    ) -> None:
        secrets = settings.secrets_directory
        self.settings = settings
        self.draining = False
        self.api_key = Token(secrets / names.API_KEY_FOLDER / "token")
        self.internal_token = Token(secrets / names.INTERNAL_FOLDER / "token")
        self.holder = ConfigurationHolder(settings.config_directory, settings.organization)
        self.background = Background()
        self.observability = Observability(settings, runtime_version(), self.background)
        stores = stores or open_stores(settings)
        self.store = stores.of_record
        self.metrics = Metrics(instruments or Instruments(self.observability.tracing.recorded))
        self.events = EventBus(self.store, lost=self.metrics.stores.events_lost)
        self.engine = CompiledPolicies()
        reports = Reports(self.events, self.metrics)
        self.policies = PolicyAdministration(self.store, self.engine, reports.policy_changed)
        self.router = ModelRouter(
            secrets / names.PROVIDERS_FOLDER,
            organization=settings.organization,
            policy=WatchedModels(self.engine, reports),
            on_circuit=reports.circuit,
        )
        self._images = Images()
        self.tools = ToolRegistry(
            ToolRunner(self.engine, self._tool_reports()),
            Surroundings(secrets, settings.documents_directory),
        )
        self.versions = VersionRouter()
        self._flights = Flights(settings.scratch_directory)
        self.admission = Admission(self.metrics.queue)
        self._standings = Standings(
            holder=self.holder,
            admission=self.admission,
            flights=self._flights,
            store=self.store,
            volume=None if stores.shared else settings.data_directory,
            background=self.background,
            show_balances=reports.balances,
        )
        self.live = LiveMetrics(lambda: self.read_metrics(0), self.metrics.instruments.changes)
        self._recorder = Recorder(self.store, self._metrics_now, self._look_at_store)
        entries = assemble(self._neighbours(stores, reports))
        self.turns, self.direct, self.tool_runs = entries.turns, entries.direct, entries.tool_runs
        self._window = entries.window
        self.grants = entries.grants
        self._checks = HealthChecks(Attempts(self.turns, self.tool_runs, self.tools, self._images))
        self._sources = self._package_sources()
        self.holder.sources = self._sources
        self._started_at = datetime.now(UTC).isoformat()
        self._health = Health(self.holder, stores, self.router, self.tools, self.api_key)
        self._sweep = RetentionSweep(self.store, self.holder, reports.expired)
        self._upkeep = Upkeep(self.store, self.policies, self.holder)
        self._tasks: list[asyncio.Task[None]] = []
        self._secrets_listeners: list[Callable[[], None]] = []

    def _tool_reports(self) -> ToolReports:
        metrics = self.metrics
        tracing = self.observability.tracing
        return ToolReports(self.events, metrics.tools, metrics.versions, tracing)

    def _package_sources(self) -> PackageSources:
        settings = self.settings
        registries = settings.secrets_directory / names.REGISTRIES_FOLDER
        blobs = Blobs(settings.data_directory / "packages")
        artifacts = Artifacts(registries, blobs, self.tools.way_to)
        return PackageSources(artifacts.fetch, self.holder.reload)

    def _neighbours(self, stores: Stores, reports: Reports) -> Neighbours:
        return Neighbours(
            organization=self.settings.organization,
            holder=self.holder,
            store=self.store,
            router=self.router,
            images=self._images,
            own_address=self.settings.own_address,
            tools=self.tools,
            versions=self.versions,
            admission=self.admission,
            background=self.background,
            reports=reports,
            flights=self._flights,
            tracing=self.observability.tracing,
            signals=stores.signals,
            rates=stores.rates,
        )

    async def start(self) -> None:
        """Follow what is mounted now and from now on."""
        self.holder.subscribe(self._follow)
        self.holder.reload()
        await self.store.recover()
        await self._upkeep.read_policies()
        self.events.start()
        # Not before policies are read: until then everything is denied.
        self.holder.subscribe(self._checks.follow)
        if self.holder.current is not None:
            self._checks.follow(self.holder.current)
        config, secrets = self.settings.config_directory, self.settings.secrets_directory
        self._tasks = [
            asyncio.create_task(watch(lambda: [config], self.holder.reload)),
            asyncio.create_task(watch(lambda: _folders(secrets), self._reload_secrets)),
            asyncio.create_task(self._sweep.run()),
            asyncio.create_task(self._upkeep.release_abandoned()),
            asyncio.create_task(self._upkeep.follow_policies()),
            asyncio.create_task(self._recorder.run()),
        ]

    def on_secrets(self, listener: Callable[[], None]) -> None:
        """Call `listener` after every change of mounted secrets."""
        self._secrets_listeners.append(listener)

    async def close(self) -> None:
        """Let what runs in the background end, then close everything."""
        for task in self._tasks:
            task.cancel()
        await self._checks.aclose()
        await self._sources.aclose()
        await self._recorder.finish()
        await self.background.finish()
        await self.router.aclose()
        await self._images.aclose()
        await self.tools.aclose()
        await self.events.aclose()
        await self.observability.aclose()
        await self.store.close()
        self._flights.close()

    def context_use(self, session: Session) -> ContextUse:
        """Return how full the context window of a session's model is."""
        configuration = self.holder.require()
        version = configuration.versions.get((session.package, session.version))
        agent = version.agents.get(session.agent) if version is not None else None
        model = configuration.source.models.default
        if agent is not None:
            model = configuration.model_of(agent)
        return self._window.use(model, session.context_tokens)

    async def readiness(self) -> Readiness:
        """Return the state of every dependency by name."""
        return Readiness(self.draining, await self._health.dependencies())

    async def wait_for(self, wanted_hash: str, seconds: float) -> None:
        """Return once that configuration is followed or refused and its health checks have ended.

        Returns when time is over all the same.
        """
        until = time.monotonic() + seconds
        await self.holder.wait_for(wanted_hash, seconds)
        await self._checks.wait(until - time.monotonic())

    async def state(self, included: Collection[str] = ()) -> RuntimeState:
        """Return what the operator asks for, with the parts that it wants included."""
        configuration = self.holder.current
        usage, sessions = await self._usage()
        return RuntimeState(
            organization=self.settings.organization,
            runtime_id=self.settings.runtime_id,
            runtime_version=runtime_version(),
            configuration_hash=configuration.hash if configuration else "",
            versions=_loaded(configuration, sessions) if configuration else (),
            refusals=await self._health.refusals(),
            pool=usage,
            missing_credentials=self.router.missing_credentials(),
            draining=self.draining,
            started_at=self._started_at,
            python=platform.python_version(),
            checks=self._checks.reports(),
            measurements=self._measurements() if "measurements" in included else (),
            libraries=await asyncio.to_thread(libraries) if "libraries" in included else {},
        )

    def _measurements(self) -> tuple[Measurement, ...]:
        return self._flights.added_to(self.metrics.versions.told())

    async def read_metrics(self, patience: float = STORE_SECONDS) -> tuple[Reading, ...]:
        """Return all metrics at this moment; wait so many seconds for the store's at most."""
        await self._look_at_store(patience)
        return self._metrics_now()

    async def _look_at_store(self, patience: float = STORE_SECONDS) -> None:
        await self._standings.refresh(patience)

    def _metrics_now(self) -> tuple[Reading, ...]:
        return self.metrics.read(self._standings.now())

    async def _usage(self) -> tuple[PoolUsage, dict[tuple[str, str], int]]:
        try:
            usage = await self.store.usage()
            sessions = dict(await self.store.sessions_by_version())
        except Problem:
            return PoolUsage(), {}
        return PoolUsage(used_bytes=usage.used_bytes, sessions=usage.sessions), sessions

    def _follow(self, configuration: Configuration) -> None:
        source = configuration.source
        self.engine.configure(source.tools.policy, source.models.policy)
        self.router.configure(source.models)
        versions = sorted(configuration.versions.items(), key=lambda item: item[1].weight)
        self.tools.configure(source.tools, {key: version.tools for key, version in versions})
        self.observability.follow(source.telemetry)
        self.versions.forget_departed(configuration)
        agents = {name for version in configuration.versions.values() for name in version.agents}
        self.metrics.keep(configuration.versions, {*agents, DIRECT})
        self._flights.keep(configuration.versions)
        self.admission.resize(configuration.limits.max_concurrent_agents)

    def _reload_secrets(self) -> None:
        self.api_key.reload()
        self.internal_token.reload()
        self.router.reload_credentials()
        self.observability.reload()
        self._sources.retry()
        self.holder.reload()
        for listener in self._secrets_listeners:
            listener()


def _folders(secrets: Path) -> Iterable[Path]:
    """Return the folder of all secrets and those of the single ones."""
    yield secrets
    for folder in _SECRET_FOLDERS:
        yield secrets / folder


def _loaded(
    configuration: Configuration, sessions: dict[tuple[str, str], int]
) -> tuple[LoadedVersion, ...]:
    return tuple(
        LoadedVersion(
            package=version.package,
            version=version.version,
            checksum=version.checksum,
            weight=version.weight,
            agents=tuple(version.agents),
            sessions=sessions.get(key, 0),
        )
        for key, version in configuration.versions.items()
    )
