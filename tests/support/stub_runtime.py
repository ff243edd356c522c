"""A stand-in for kubelet and runtime, which an API server alone does not have.

It gives pods an address and lets them become ready, and answers the internal port for all of them
by following the ConfigMaps as they were when the pod was last touched, as a kubelet syncs them.
"""

import base64
from dataclasses import dataclass, field
from typing import Literal

from aiohttp import web

from bulkhead_api import names
from bulkhead_api.runtime_config import PackageDocument, RuntimeConfig, VersionRoute
from bulkhead_api.runtime_state import (
    CheckReport,
    CheckResult,
    LoadedVersion,
    Measurement,
    PoolUsage,
    Refusal,
    RuntimeState,
)
from tests.support.api_observer import Observer


@dataclass
class Pod:
    """One pod that runs."""

    namespace: str
    name: str
    address: str
    organization: str
    seen: str = "never"
    """The touch annotation at the last sync."""
    config: RuntimeConfig | None = None
    documents: dict[tuple[str, str], PackageDocument] = field(default_factory=dict)
    refusal: Refusal | None = None
    followed: list[RuntimeConfig] = field(default_factory=list)
    """Every configuration that it followed, in order."""


@dataclass
class StubRuntime:
    """All pods of all organizations."""

    observer: Observer
    port: int = 0
    pods: dict[str, Pod] = field(default_factory=dict)
    usage: PoolUsage = field(default_factory=PoolUsage)
    sessions: dict[tuple[str, str], int] = field(default_factory=dict)
    refuse: set[str] = field(default_factory=set)
    """File names of documents that the runtime will not load."""
    asked: int = 0
    unhealthy: set[str] = field(default_factory=set)
    """Versions whose health checks fail."""
    away: set[str] = field(default_factory=set)
    """Versions whose registry does not answer: set aside without sessions, refused with them."""
    undecided: set[str] = field(default_factory=set)
    """Versions whose health checks never end."""
    measurements: dict[tuple[str, str], Measurement] = field(default_factory=dict)
    """What each version did since the process began, told while it gets sessions."""
    libraries: dict[str, str] = field(default_factory=lambda: {"httpx": "0.28.1"})
    processes: int = 1
    """Grows when the runtime's processes begin again."""
    ready_without_configuration: bool = True
    """Whether a pod becomes ready before it follows any configuration; a real one does not."""
    syncs: bool = True
    """Whether the kubelet syncs files when a pod is touched."""
    _runner: web.AppRunner | None = None

    async def start(self) -> None:
        app = web.Application()
        app.router.add_get("/internal/state", self._state)
        self._runner = web.AppRunner(app)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "0.0.0.0", 0)
        await site.start()
        self.port = site._server.sockets[0].getsockname()[1]  # type: ignore[union-attr]

    async def stop(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()

    async def run_pods(self, namespace: str) -> list[Pod]:
        """Let every pod of a namespace run and become ready, as a kubelet would."""
        started = []
        for pod in await self.observer.items(f"/api/v1/namespaces/{namespace}/pods"):
            name = pod["metadata"]["name"]
            if any(known.name == name for known in self.pods.values()):
                continue
            component = pod["metadata"]["labels"]["app.kubernetes.io/component"]
            if "deletionTimestamp" in pod["metadata"] or component != "runtime":
                continue
            address = f"127.77.{len(self.pods) // 250}.{len(self.pods) % 250 + 1}"
            organization = pod["metadata"]["labels"][names.LABEL_ORGANIZATION]
            known = Pod(namespace, name, address, organization)
            self.pods[address] = known
            await self._sync(known, pod)
            follows = known.config is not None
            await self.set_ready(known, ready=follows or self.ready_without_configuration)
            started.append(known)
        return started

    async def set_ready(self, pod: Pod, *, ready: bool) -> None:
        """Write the pod's status as a kubelet does."""
        status = {
            "phase": "Running",
            "podIP": pod.address,
            "podIPs": [{"ip": pod.address}],
            "conditions": [{"type": "Ready", "status": "True" if ready else "False"}],
        }
        path = f"/api/v1/namespaces/{pod.namespace}/pods/{pod.name}/status"
        await self.observer.merge(path, {"status": status})

    async def end_installation(self, namespace: str, phase: Literal["Succeeded", "Failed"]) -> bool:
        """Let every pod of an installation end; tells whether there was one."""
        labels = "app.kubernetes.io/component%3Dinstallation"
        pods = await self.observer.items(
            f"/api/v1/namespaces/{namespace}/pods?labelSelector={labels}"
        )
        running = [pod for pod in pods if pod["status"]["phase"] not in {"Succeeded", "Failed"}]
        for pod in running:
            path = f"/api/v1/namespaces/{namespace}/pods/{pod['metadata']['name']}/status"
            await self.observer.merge(path, {"status": {"phase": phase}})
        return bool(running)

    async def _state(self, request: web.Request) -> web.Response:
        self.asked += 1
        transport = request.transport
        assert transport is not None
        pod = self.pods[transport.get_extra_info("sockname")[0]]
        if not await self._authorized(pod, request.headers.get("Authorization", "")):
            return web.json_response({"title": "Unauthorized"}, status=401)
        path = f"/api/v1/namespaces/{pod.namespace}/pods/{pod.name}"
        live = await self.observer.get(path)
        if live is not None and self.syncs:
            unready = pod.config is None
            await self._sync(pod, live)
            if unready and pod.config is not None:
                await self.set_ready(pod, ready=True)
        state = self._report(pod, set(request.query.getall("include", ())))
        return web.json_response(state.model_dump(by_alias=True, mode="json"))

    async def _authorized(self, pod: Pod, header: str) -> bool:
        path = f"/api/v1/namespaces/{pod.namespace}/secrets/{names.INTERNAL_SECRET}"
        secret = await self.observer.get(path)
        if secret is None:
            return False
        token = base64.b64decode(secret["data"][names.TOKEN_FIELD]).decode()
        return header == f"Bearer {token}"

    async def _sync(self, pod: Pod, live: dict[str, object]) -> None:
        metadata = live["metadata"]
        assert isinstance(metadata, dict)
        touch = (metadata.get("annotations") or {}).get(names.ANNOTATION_CONFIGURATION_HASH, "")
        if touch == pod.seen:
            return
        pod.seen = touch
        await self.look(pod)

    async def look(self, pod: Pod) -> None:
        """Look at the files as they are now, as a kubelet does now and then by itself."""
        data: dict[str, str] = {}
        for item in await self.observer.items(f"/api/v1/namespaces/{pod.namespace}/configmaps"):
            if item["metadata"]["name"].startswith("runtime-"):
                data |= item.get("data") or {}
        documents = [
            PackageDocument.model_validate_json(text)
            for name, text in data.items()
            if name.startswith("package_") and name not in self.refuse
        ]
        loaded = {(one.package, one.version): one for one in documents}
        config = RuntimeConfig.model_validate_json(data[names.CONFIG_FILE])
        if config.with_hash().hash == config.hash and self._missing(config, loaded) is None:
            pod.config, pod.documents = config, loaded
            pod.followed.append(config)
        pod.refusal = self._missing(config, loaded)

    def _missing(
        self, config: RuntimeConfig, loaded: dict[tuple[str, str], PackageDocument]
    ) -> Refusal | None:
        for route in config.routes:
            for version in route.versions:
                found = loaded.get((route.package, version.version))
                away = version.version in self.away and version.weight > 0
                if away or found is None or not _is(found, version):
                    name = names.package_key(route.package, version.version)
                    return Refusal(what=name, message=f"{name} cannot be loaded")
        return None

    def _checks(self, config: RuntimeConfig) -> tuple[CheckReport, ...]:
        return tuple(
            CheckReport(
                package=route.package,
                version=version.version,
                checksum=version.checksum,
                nonce=version.check,
                verdict=self._verdict(version.version),
                results=(
                    CheckResult(
                        name="answers",
                        passed=version.version not in self.unhealthy,
                        message="status 500" if version.version in self.unhealthy else "",
                    ),
                ),
            )
            for route in config.routes
            for version in route.versions
            if version.check
        )

    def _set_aside(self, config: RuntimeConfig | None) -> tuple[Refusal, ...]:
        return tuple(
            Refusal(
                what=names.package_key(route.package, version.version),
                message="registry.example.com does not answer; it is fetched again after a while",
            )
            for route in (config.routes if config else ())
            for version in route.versions
            if version.version in self.away and not version.weight
        )

    def _measured(self, versions: tuple[LoadedVersion, ...]) -> tuple[Measurement, ...]:
        used = {(one.package, one.version) for one in versions if one.weight}
        return tuple(one for key, one in self.measurements.items() if key in used)

    def _verdict(self, version: str) -> Literal["Pending", "Passed", "Failed"]:
        if version in self.undecided:
            return "Pending"
        return "Failed" if version in self.unhealthy else "Passed"

    def _report(self, pod: Pod, include: set[str]) -> RuntimeState:
        config = pod.config
        versions = tuple(
            LoadedVersion(
                package=route.package,
                version=version.version,
                checksum=version.checksum,
                weight=version.weight,
                agents=tuple(
                    agent.name for agent in pod.documents[route.package, version.version].agents
                ),
                sessions=self.sessions.get((route.package, version.version), 0),
            )
            for route in (config.routes if config else ())
            for version in route.versions
            if version.weight or version.version not in self.away
        )
        return RuntimeState(
            organization=pod.organization,
            runtime_id=config.runtime_id if config else "",
            runtime_version="1.2.0",
            configuration_hash=config.hash if config else "",
            versions=versions,
            refusals=((pod.refusal,) if pod.refusal else ()) + self._set_aside(config),
            pool=self.usage,
            started_at=str(self.processes),
            python="3.13.1",
            checks=self._checks(config) if config else (),
            measurements=self._measured(versions) if "measurements" in include else (),
            libraries=self.libraries if "libraries" in include else {},
        )


def _is(found: PackageDocument, wanted: VersionRoute) -> bool:
    return found.checksum == wanted.checksum and found.intact()
