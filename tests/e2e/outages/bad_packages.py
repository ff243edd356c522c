"""The kinds of bad package as people would really deliver them to a runtime that really runs.

What is measured is measured: a version that is slow, costly or fails is asked by tenants, and what
it is asked of is the stub provider in the cluster, whose behaviour a model's name chooses.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

from bulkhead_api.package_manifest import PackageManifest
from bulkhead_api.v1alpha1.agents import Agent
from tests.performance.rows.stub_in_cluster import Provider
from tests.support.cluster import Endpoint, Kubectl

NAME: Final = "tyrell"
NAMESPACE: Final = f"org-{NAME}"
GOOD_MODEL: Final = "stub/words"
_COSTLY_MODEL: Final = "stub/words;chunks=20"
_LIMITS: Final = {
    "requests": {"cpuMillicores": 50, "memoryMB": 96},
    "rateLimitPerMinute": 1_000_000,
    "sessionCreationsPerMinute": 1_000_000,
    "maxConcurrentAgents": 50,
    "packages": {"pods": 3, "memoryMB": 192, "cpuMillicores": 300},
}


@dataclass(frozen=True)
class Scene:
    """The one organization to which all kinds are delivered."""

    kubectl: Kubectl
    endpoint: Endpoint
    stub: Provider

    def deliver(self, number: str, agent: dict[str, Any], **spec: Any) -> None:
        """Apply the package `assistant` in a version with one agent, or with what `spec` holds."""
        self.apply(manifest("assistant", number, agent, **spec))

    def apply(self, manifest: dict[str, Any]) -> None:
        """Apply without a copy in an annotation, which the largest would not fit into."""
        self.kubectl("apply", "--server-side", "-f", "-",
                     stdin=json.dumps(manifest, ensure_ascii=False))  # fmt: skip

    def change(self, **spec: Any) -> None:
        """Change what the organization has."""
        patch = json.dumps({"spec": spec})
        self.kubectl("patch", "orgrt", NAME, "--type=merge", "-p", patch)

    def live(self) -> dict[str, Any]:
        """Return the package."""
        return self.kubectl.get("agpkg", "assistant", "-n", NAMESPACE)


Act = Callable[[Scene, str], None]
"""Given the number of the version."""


def nothing(scene: Scene, number: str) -> None:
    """Leave everything as it is."""


@dataclass(frozen=True)
class Kind:
    """One kind; without `mend` only a corrected version helps.

    The leader dies in the phase `dies_in`, or right after the version was asked for.
    """

    name: str
    reason: str
    dies_in: str = ""
    agent: dict[str, Any] = field(default_factory=dict)
    spec: dict[str, Any] = field(default_factory=dict)
    spoil: Act = nothing
    mend: Act | None = None
    crashes: bool = False
    hurts: bool = False
    """Whether sessions that begin with it fail."""

    @property
    def gets_sessions(self) -> bool:
        """Tell whether it has a share before it is known to be bad."""
        return self.dies_in == "Shift"

    def deliver(self, scene: Scene, number: str) -> None:
        """Ask for it in this version."""
        scene.deliver(number, self.agent, **self.spec)


def manifest(name: str, number: str, agent: dict[str, Any], **spec: Any) -> dict[str, Any]:
    """Return a package with one agent of its name, or with the agents of `spec`."""
    instructions = f"You are the {name} of {NAME}, version {number}."
    agents = [{"name": name, "instructions": instructions, **agent}]
    return {
        "apiVersion": "bulkhead.dev/v1alpha1",
        "kind": "AgentPackage",
        "metadata": {"name": name, "namespace": NAMESPACE},
        "spec": {"version": number, "agents": agents, **spec},
    }


def organization_spec(stub: Provider) -> dict[str, Any]:
    """Return what the organization is made with; `frail` fails without harm to `stub`."""
    prices = {GOOD_MODEL: "1", _COSTLY_MODEL: "600"}
    return {
        "limits": _LIMITS,
        "network": {"egress": [stub.as_egress()]},
        "integrations": [],
        "models": {
            "default": GOOD_MODEL,
            "providers": _providers(stub, "frail"),
            "prices": [
                {"model": model, "inputPerMillion": "1", "outputPerMillion": price}
                for model, price in prices.items()
            ],
        },
    }


def _providers(stub: Provider, *others: str) -> list[dict[str, Any]]:
    patient = {"failures": 1000, "openSeconds": 1}
    frail = {**stub.as_spec(), "maxRetries": 0, "circuitBreaker": patient}
    return [stub.as_spec(), *({**frail, "name": name} for name in others)]


def _bundle(scene: Scene, number: str, spoiled: Callable[[str], str]) -> None:
    content = PackageManifest.of("assistant", number, (Agent(name="assistant"),), ())
    data = {"package.json": spoiled(content.written().decode())}
    metadata = {"name": "bundle", "namespace": NAMESPACE}
    scene.apply({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data})


def _from_map(name: str, spoiled: Callable[[str], str]) -> Kind:
    return Kind(
        name,
        "SourceInvalid",
        spec={"agents": [], "source": {"configMap": {"name": "bundle"}}},
        spoil=lambda scene, number: _bundle(scene, number, spoiled),
        mend=lambda scene, number: _bundle(scene, number, str),
    )


def _measured(name: str, model: str, bounds: dict[str, Any], **rest: Any) -> Kind:
    analysis = {"minimumExecutions": 10, **bounds}
    rollout = {"strategy": "Canary", "steps": [{"weight": 50}], "analysis": analysis}
    reason = rest.pop("reason", "AnalysisFailed")
    return Kind(name, reason, "Shift", {"model": model}, {"rollout": rollout}, **rest)


def _need_each_other(scene: Scene, number: str) -> None:
    needs = [{"type": "Package", "name": "assistant"}]
    scene.apply(manifest("mate", number, {}, dependencies=needs))


def _know_the_provider(scene: Scene, _: str) -> None:
    scene.change(models={"providers": _providers(scene.stub, "frail", "nobody")})


def _wait_longer(scene: Scene, number: str) -> None:
    scene.deliver(number, {}, **_SLOW_AT_CHECKS, rollout={})


class _Image(Kind):
    """A version with an image of its own that ends at once: the runtime's, on every node."""

    def deliver(self, scene: Scene, number: str) -> None:
        """Ask for it in this version."""
        runtime = scene.kubectl.get("deployment", "runtime", "-n", NAMESPACE)
        reference = runtime["spec"]["template"]["spec"]["containers"][0]["image"]
        image = {"reference": reference, "memoryMB": 64, "cpuMillicores": 100}
        scene.deliver(number, {}, image={**image, "maxCostPerCall": "0"})


_HUGE: Final = [
    {"name": f"assistant-{index}", "instructions": "\U0001f600" * 16384} for index in range(15)
]
_ATTEMPTS: Final = 4


def _checks(agent: str) -> list[dict[str, Any]]:
    prompt = {"agent": agent, "message": "Hello?", "contains": ["word"]}
    return [{"name": "speaks", "prompt": prompt, "attempts": _ATTEMPTS, "timeoutSeconds": 30}]


# Tenants talk to another agent than the one that takes its time.
_SLOW_AT_CHECKS: Final[dict[str, Any]] = {
    "agents": [
        {"name": "assistant"},
        {"name": "sluggish", "model": "frail/slow;delay_ms=12000"},
    ],
    "healthChecks": _checks("sluggish"),
}

KINDS: Final = (
    _from_map("unparseable", lambda text: text[:-20]),
    _from_map("tampered with", lambda text: text.replace('"assistant"', '"intruder"')),
    Kind("huge", "PackageTooLarge", spec={"agents": _HUGE}),
    Kind(
        "of an unknown model",
        "UnknownProvider",
        agent={"model": "nobody/words"},
        mend=_know_the_provider,
    ),
    Kind(
        "with an unmet dependency",
        "DependencyNotMet",
        spec={"dependencies": [{"type": "Integration", "name": "crm", "version": "^3"}]},
        mend=lambda scene, _: scene.change(integrations=[{"name": "crm", "version": "3.1.0"}]),
    ),
    Kind(
        "in a cycle",
        "DependencyNotMet",
        spec={"dependencies": [{"type": "Package", "name": "mate"}]},
        spoil=_need_each_other,
    ),
    Kind(
        "with a failing check",
        "HealthCheckFailed",
        "HealthCheck",
        {"model": f"frail/busy-once;times={_ATTEMPTS}"},
        {"healthChecks": _checks("assistant")},
        mend=nothing,
    ),
    Kind(
        "with a slow check",
        "ProgressDeadlineExceeded",
        "HealthCheck",
        spec={**_SLOW_AT_CHECKS, "rollout": {"progressDeadlineSeconds": 10}},
        mend=_wait_longer,
    ),
    _measured("error-prone", "frail/error", {"maxErrorPercent": 5}, hurts=True),
    _measured("slow", "frail/slow;delay_ms=2500", {"maxLatencySeconds": 1}),
    _measured("costly", _COSTLY_MODEL, {"maxCostPerRun": "0.001"}),
    _measured(
        "crashing the worker",
        # So slow that some of the tenants are in the middle of an execution at any moment.
        "frail/slow;delay_ms=2500",
        {"maxErrorPercent": 5},
        reason="CrashLoop",
        crashes=True,
        hurts=True,
        mend=nothing,
    ),
    _Image("of an image that crashes", "CrashLoop", "Load"),
)
