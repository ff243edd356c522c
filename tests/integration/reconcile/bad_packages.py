"""The kinds of bad package: what is wrong with a version, what is said of it, and what mends it.

A spoiled thing is spoiled before the version is asked for, as it is in life: the stand-in for the
runtime counts what a version does only once the version gets sessions.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Final

from bulkhead_api.package_manifest import PackageManifest
from bulkhead_api.runtime_state import LATENCY_BOUNDS, Measurement
from bulkhead_api.v1alpha1.agents import Agent
from tests.integration.reconcile.conftest import World, package
from tests.support.api_observer import OURS, Object

CHECKS: Final = [{"name": "answers", "http": {"url": "https://a.example.com/health"}}]
STEP: Final = [{"weight": 5, "pauseSeconds": 0}]
RUNS: Final = 20
ELSEWHERE: Final[Object] = {
    "agents": [],
    "source": {"oci": {"reference": f"registry.example.com/acme/support@sha256:{64 * '0'}"}},
}
"""Content that only the runtime fetches."""

_SLOW: Final = (*(0,) * len(LATENCY_BOUNDS), RUNS)

Act = Callable[[World, str, str], Awaitable[None]]
"""Given the world, the organization and the number of the version."""


async def nothing(world: World, name: str, number: str) -> None:
    """Leave everything as it is."""


@dataclass(frozen=True)
class Kind:
    """One kind of version; without `mend` only a corrected version helps."""

    name: str
    reason: str
    spec: Object = field(default_factory=dict)
    spoil: Act = nothing
    mend: Act | None = None
    points: tuple[int, ...] = (4,)
    """The deaths that are tried where not every one is."""
    most: int = 0
    """The share that it may have had, in percent."""

    def version(self, number: str) -> Object:
        """Return the package `support` in this version."""
        return version(self.name, number, **self.spec)

    @property
    def good(self) -> bool:
        """Tell whether nothing is wrong with it."""
        return self.reason == "InService"


def version(name: str, number: str, **spec: Any) -> Object:
    """Return the package `support` of an organization in one version."""
    manifest = package(f"org-{name}", "support", number, helper={"instructions": f"v{number}"})
    manifest["spec"] |= spec
    return manifest


async def _refuse(world: World, _: str, number: str) -> None:
    world.runtime.refuse.add(f"package_support_{number}.json")


async def _accept(world: World, _: str, number: str) -> None:
    world.runtime.refuse.discard(f"package_support_{number}.json")


async def _fail_checks(world: World, _: str, number: str) -> None:
    world.runtime.unhealthy.add(number)


async def _pass_checks(world: World, _: str, number: str) -> None:
    world.runtime.unhealthy.discard(number)
    world.runtime.undecided.discard(number)


async def _hang_checks(world: World, _: str, number: str) -> None:
    world.runtime.undecided.add(number)


def _counting(**figures: Any) -> Act:
    async def count(world: World, _: str, number: str) -> None:
        world.runtime.measurements["support", number] = Measurement(
            package="support", version=number, executions=RUNS, **figures
        )

    return count


def _from_map(name: str, spoiled: Callable[[PackageManifest], str]) -> Kind:
    spec = {"agents": [], "source": {"configMap": {"name": "bundle"}}}
    return Kind(name, "SourceInvalid", spec, _bundle(spoiled), _bundle(_written), (0,))


def _judged(**bounds: Any) -> Object:
    analysis = {"minimumExecutions": RUNS // 2, **bounds}
    return {"rollout": {"strategy": "Canary", "steps": STEP, "analysis": analysis}}


def _bundle(text: Callable[[PackageManifest], str]) -> Act:
    async def put(world: World, name: str, number: str) -> None:
        manifest = PackageManifest.of("support", number, (Agent(name="helper"),), ())
        maps = f"/api/v1/namespaces/org-{name}/configmaps"
        data = {"data": {"package.json": text(manifest)}}
        if await world.api.get(f"{maps}/bundle") is None:
            metadata = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "bundle"}}
            await world.api.expect("POST", maps, metadata)
        await world.api.merge(f"{maps}/bundle", data)

    return put


def _written(manifest: PackageManifest) -> str:
    return manifest.written().decode()


def _tampered(manifest: PackageManifest) -> str:
    return _written(manifest).replace('"helper"', '"intruder"')


def _unparseable(manifest: PackageManifest) -> str:
    return _written(manifest)[:-20]


def _organization(**spec: Any) -> Act:
    async def change(world: World, name: str, _: str) -> None:
        await world.api.merge(f"{OURS}/organizationruntimes/{name}", {"spec": spec})

    return change


async def _need_each_other(world: World, name: str, number: str) -> None:
    """Let `mate` ask for `support`, which asks for it."""
    mate = package(f"org-{name}", "mate", number, mate={"instructions": f"v{number}"})
    mate["spec"]["dependencies"] = [{"type": "Package", "name": "support", "version": "*"}]
    path = f"{OURS}/namespaces/org-{name}/agentpackages"
    if await world.api.get(f"{path}/mate") is None:
        await world.api.create(mate)
    else:
        await world.api.merge(f"{path}/mate", {"spec": mate["spec"]})


_PROVIDER: Final = {"name": "nobody", "baseURL": "https://models.example.com/v1"}
_HUGE: Final = [
    {"name": f"helper-{index}", "instructions": "\U0001f600" * 16384} for index in range(15)
]

KINDS: Final = (
    Kind(
        "mortal",
        "InService",
        {"healthChecks": CHECKS, "rollout": {"strategy": "Canary", "steps": STEP}},
        points=(1, 4, 7),
    ),
    Kind("at-once", "InService", points=(2, 4, 6)),
    _from_map("unparseable", _unparseable),
    _from_map("tampered", _tampered),
    Kind("huge", "PackageTooLarge", {"agents": _HUGE}, points=(0,)),
    Kind(
        "unknown-model",
        "UnknownProvider",
        {"agents": [{"name": "helper", "model": "nobody/large"}]},
        _organization(models={"providers": []}),
        _organization(models={"providers": [_PROVIDER]}),
        (0,),
    ),
    Kind(
        "unmet",
        "DependencyNotMet",
        {"dependencies": [{"type": "Integration", "name": "crm", "version": "^3"}]},
        _organization(integrations=[]),
        _organization(integrations=[{"name": "crm", "version": "3.1.0"}]),
        (1,),
    ),
    Kind(
        "cycle",
        "DependencyNotMet",
        {"dependencies": [{"type": "Package", "name": "mate", "version": "*"}]},
        _need_each_other,
        points=(1,),
    ),
    Kind("refused", "RefusedByRuntime", {}, _refuse, _accept),
    Kind(
        "failing-check", "HealthCheckFailed", {"healthChecks": CHECKS}, _fail_checks, _pass_checks
    ),
    Kind(
        "slow-check",
        "ProgressDeadlineExceeded",
        {"healthChecks": CHECKS, "rollout": {"progressDeadlineSeconds": 10}},
        _hang_checks,
        _pass_checks,
    ),
    *(
        Kind(name, reason, _judged(**bounds), _counting(**figures), _counting(), most=5)
        for name, reason, figures, bounds in (
            ("error-prone", "AnalysisFailed", {"failures": RUNS}, {"maxErrorPercent": 5}),
            ("slow", "AnalysisFailed", {"seconds": _SLOW}, {"maxLatencySeconds": 10}),
            ("costly", "AnalysisFailed", {"cost": "9.5"}, {"maxCostPerRun": "0.10"}),
            ("crashing", "CrashLoop", {"crashes": 2}, {"maxErrorPercent": 5}),
        )
    ),
)
