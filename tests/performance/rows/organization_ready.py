"""From applying an organization until it is Ready, against applying its children by hand."""

import json
import time
from functools import partial
from pathlib import Path
from typing import Any

from bulkhead_api.names import (
    CONFIG_FILE,
    CONFIG_MAP,
    LABEL_ORGANIZATION,
    RUNTIME,
    default_namespace,
)
from bulkhead_api.runtime_config import RuntimeConfig
from tests.cluster.kubectl import Kubectl
from tests.performance.harness.results import OURS, Bar, ratio
from tests.performance.harness.rounds import Measurement, Round, interleave
from tests.performance.rows import children
from tests.performance.rows.local_cluster import (
    connect,
    organization,
    remove,
    unique,
    until,
    wait_ready,
)

BY_HAND = "by-hand"
_OURS, _HAND = "bench-ready", "bench-hand"
# The operator must take no interest in what is applied by hand.
_OTHER_LABEL = "example.com/organization"

BARS = (
    Bar("organization-ready", "OrganizationRuntime applied until Ready, image present",
        "kubectl apply of the same manifests by hand plus rollout status", 1.25, "lower",
        ratio("seconds", BY_HAND), control="seconds"),
)  # fmt: skip


def measure(_directory: Path, count: int) -> list[Round]:
    """Make an organization both ways in turn and remove it again."""
    kubectl = connect()
    manifests = _manifests(kubectl)
    variants = {OURS: partial(_ours, kubectl), BY_HAND: partial(_by_hand, kubectl, manifests)}
    try:
        return interleave(variants, count, repeated=OURS)
    finally:
        _await_removals(kubectl)


def _manifests(kubectl: Kubectl) -> list[dict[str, Any]]:
    try:
        kubectl.apply(json.dumps(organization(children.EXAMPLE)))
        wait_ready(kubectl, "organizationruntime", children.EXAMPLE)
        return children.written(kubectl.run)
    finally:
        remove(kubectl, "organizationruntime", children.EXAMPLE)


def _ours(kubectl: Kubectl) -> Measurement:
    name = unique(_OURS)
    manifest = json.dumps(organization(name))
    try:
        begin = time.monotonic()
        kubectl.run("apply", "--filename=-", stdin=manifest)
        wait_ready(kubectl, "organizationruntime", name)
        return {"seconds": time.monotonic() - begin}
    finally:
        _begin_removal(kubectl, "organizationruntime", name)


def _by_hand(kubectl: Kubectl, manifests: list[dict[str, Any]]) -> Measurement:
    name = unique(_HAND)
    namespace = default_namespace(name)
    items = [_renamed(manifest, name) for manifest in manifests]
    content = json.dumps({"apiVersion": "v1", "kind": "List", "items": items})
    rollout = ("rollout", "status", f"deployment/{RUNTIME}", f"--namespace={namespace}")
    try:
        begin = time.monotonic()
        kubectl.run("apply", "--filename=-", stdin=content)
        kubectl.run(*rollout, "--timeout=180s")
        return {"seconds": time.monotonic() - begin}
    finally:
        _begin_removal(kubectl, "namespace", namespace)


def _await_removals(kubectl: Kubectl) -> None:
    def gone() -> bool:
        left = kubectl.run("get", "namespaces", "--output=name")
        return default_namespace(_OURS) not in left and default_namespace(_HAND) not in left

    until("the removal of all that was made", gone, seconds=300)


def _begin_removal(kubectl: Kubectl, kind: str, name: str) -> None:
    """Delete without waiting: a removal takes several times as long as what is measured."""
    kubectl.run("delete", kind, name, "--wait=false")


def _renamed(manifest: dict[str, Any], name: str) -> dict[str, Any]:
    text = json.dumps(manifest).replace(children.EXAMPLE, name)
    renamed: dict[str, Any] = json.loads(text.replace(LABEL_ORGANIZATION, _OTHER_LABEL))
    renamed["metadata"].pop("ownerReferences", None)
    if renamed["kind"] == "ConfigMap" and renamed["metadata"]["name"] == CONFIG_MAP:
        # The runtime refuses a configuration whose hash is not that of its content.
        config = RuntimeConfig.model_validate_json(renamed["data"][CONFIG_FILE]).with_hash()
        renamed["data"][CONFIG_FILE] = config.model_dump_json(by_alias=True)
    return renamed
