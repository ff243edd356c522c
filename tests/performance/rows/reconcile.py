"""Against the API server alone: 15 organizations a second, 1,000 at once, children spoiled."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from functools import partial
from itertools import count as numbers
from pathlib import Path
from typing import Any

from bulkhead_api.names import API_VERSION
from tests.performance.harness.programs import ask
from tests.performance.harness.results import OURS, Bar, plain, ratio
from tests.performance.harness.rounds import Measurement, Round, interleave
from tests.performance.rows import children
from tests.performance.rows.control_plane import Cluster, Controller, cluster, operator, peer

GO = "controller-runtime"
_AGAINST = "controller-runtime (Go): same children, 50 workers, no client throttle"
_PACED, _RATE = 300, 15
_BURST = 1000
_SPOILED = 200
_PATIENCE_SECONDS, _PATIENCE_EACH = 900, 3
"""A machine that is busy with other things needs minutes for what takes one when it is quiet."""

BARS = (
    Bar("reconcile-p50", "15 organizations a second: applied until reconciled, p50", _AGAINST,
        1.15, "lower", ratio("paced_p50_ms", GO), control="paced_p50_ms"),
    Bar("reconcile-p99", "15 organizations a second: applied until reconciled, p99", _AGAINST,
        1.3, "lower", ratio("paced_p99_ms", GO), control="paced_p99_ms"),
    Bar("reconcile-burst", "organizations a second, 1,000 at once", _AGAINST, 0.9, "higher",
        ratio("burst_per_second", GO), control="burst_per_second"),
    Bar("drift-p50", "child changed or deleted by hand until it is back, p50", _AGAINST, 1.15,
        "lower", ratio("drift_p50_ms", GO), control="drift_p50_ms"),
    Bar("drift-p99", "child changed or deleted by hand until it is back, p99 in ms",
        "none: what is promised", 2000, "lower", plain("drift_p99_ms"), summary="worst"),
)  # fmt: skip

Start = Callable[[Cluster], AbstractContextManager[Controller]]


def measure(directory: Path, count: int) -> list[Round]:
    """Measure both, each on a control plane of its own in every round."""
    template = example(directory / "example")
    runs = numbers()
    starts: dict[str, Start] = {OURS: operator, GO: partial(peer, template=template)}
    variants = {
        name: partial(_reconcile, directory, runs, start, template)
        for name, start in starts.items()
    }
    return interleave(variants, count, repeated=OURS)


def example(directory: Path) -> Path:
    """Let the operator make one organization and return the template of its children."""
    directory.mkdir(parents=True, exist_ok=True)
    with cluster(directory) as made, operator(made):
        organization = {
            "apiVersion": API_VERSION,
            "kind": "OrganizationRuntime",
            "metadata": {"name": children.EXAMPLE},
        }
        return template_of(made, organization, directory / "template.json")


def template_of(made: Cluster, organization: dict[str, Any], path: Path) -> Path:
    """Apply an organization, wait until it is reconciled and write down what was made for it."""
    made.apply(organization)
    name = f"organizationruntime/{organization['metadata']['name']}"
    reconciled = "--for=jsonpath={.status.observedGeneration}=1"
    made.kubectl("wait", reconciled, name, "--timeout=60s")
    uid = made.kubectl("get", name, "--output=jsonpath={.metadata.uid}")
    return children.template(children.written(made.kubectl), uid, path)


def _reconcile(directory: Path, runs: Iterator[int], start: Start, template: Path) -> Measurement:
    with cluster(directory / f"run-{next(runs)}") as made, start(made) as controller:
        drive(made, template, "warm", 5)
        paced = drive(made, template, "paced", _PACED, _RATE)
        before = controller.process.cpu_seconds(), made.cpu_seconds()
        burst = drive(made, template, "burst", _BURST)
        used = controller.process.cpu_seconds() - before[0]
        server = made.cpu_seconds() - before[1]
        drift = _spoil(made)
        return {
            "cpu_ms_per_organization": used * 1000 / _BURST,
            "cpu_ms_of_api_server_and_etcd": server * 1000 / _BURST,
            "paced_p50_ms": paced["p50_ms"],
            "paced_p99_ms": paced["p99_ms"],
            "burst_p50_ms": burst["p50_ms"],
            "burst_p99_ms": burst["p99_ms"],
            "burst_per_second": burst["per_second"],
            "drift_p50_ms": drift["p50_ms"],
            "drift_p99_ms": drift["p99_ms"],
        }


def _spoil(made: Cluster) -> dict[str, Any]:
    """Spoil and delete children of the paced organizations and return how fast they came back."""
    arguments: list[str | Path] = ["-kubeconfig", made.plane.kubeconfig, "-prefix", "paced"]
    arguments += ["-organizations", str(_PACED), "-changes", str(_SPOILED)]
    return ask("drift", *arguments)


def drive(
    made: Cluster, template: Path, prefix: str, count: int, rate: float = 0, *flags: str
) -> dict[str, Any]:
    """Create organizations and return the report of the independent watch on them."""
    arguments: list[str | Path] = ["-kubeconfig", made.plane.kubeconfig, "-template", template]
    arguments += ["-prefix", prefix, "-count", str(count), "-rate", str(rate)]
    patience = max(_PATIENCE_SECONDS, count * _PATIENCE_EACH)
    arguments += ["-timeout", f"{patience}s", *flags]
    return ask("drive", *arguments, seconds=patience + 30)
