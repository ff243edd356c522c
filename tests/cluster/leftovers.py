"""What of the local cluster is still on this machine; after `down` the list is empty."""

from collections.abc import Sequence
from pathlib import Path

from tests.cluster import mounts, places, traces


def leftovers(state: Path | None = None) -> list[str]:
    """Return one line for every process, mount, rule, interface or file that was left."""
    state = state or places.state()
    found: dict[str, Sequence[object]] = {
        "process": sorted(traces.daemons(state) | traces.pod_processes(state)),
        "mount": [mount.target for mount in mounts.below(state)],
        "cgroup": traces.pod_cgroups(),
        "rule": traces.rules(),
        "set of addresses": traces.ip_sets(),
        "network interface": traces.interfaces(),
        "filter on interface": traces.filters(),
        "routing rule": traces.routing_rules(),
        "file": traces.shared_files(state),
        "folder": [state] if state.exists() else [],
    }
    return [f"{kind}: {thing}" for kind, things in found.items() for thing in things]
