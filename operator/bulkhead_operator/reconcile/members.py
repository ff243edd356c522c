"""What packages and the pool learn from their organization's reconcile."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from bulkhead_api.runtime_state import RuntimeState
from bulkhead_api.v1alpha1.package_rollout import CheckSummary, Revision, Waiting
from bulkhead_operator.context import Context
from bulkhead_operator.errors import NotReadyYet, UserError
from bulkhead_operator.packages.decision import nonce
from bulkhead_operator.packages.record import Record, identity, written
from bulkhead_operator.packages.reports import Reports
from bulkhead_operator.packages.rollout import Phase
from bulkhead_operator.reconcile import deliveries, history
from bulkhead_operator.reconcile.candidate import Decided
from bulkhead_operator.reconcile.keys import Key
from bulkhead_operator.reconcile.memory import Memories, Memory
from bulkhead_operator.status import reasons
from bulkhead_operator.status.package import PackageFound
from bulkhead_operator.status.pool import PoolFound


def organization_of(context: Context, namespace: str) -> str:
    """Return the organization that a namespace belongs to.

    Raises `NotReadyYet` while one is on its way there, `UserError` when none is.
    """
    name = context.inventory.organization_of(namespace)
    if name is not None:
        return name
    for body in context.inventory.wanting(namespace):
        message = f"OrganizationRuntime '{body['metadata']['name']}' is not set up yet."
        raise NotReadyYet(reasons.WAITING_FOR_ORGANIZATION, message)
    raise UserError(
        reasons.NO_ORGANIZATION,
        f"`metadata.namespace` is '{namespace}', which belongs to no organization: move this "
        "object to the namespace of an OrganizationRuntime (its `status.namespace`).",
    )


def is_reconciled(memories: Memories, organization: str | None) -> bool:
    """Tell whether the organization was looked at since this process leads; it rings after."""
    memory = memories.find(organization) if organization is not None else None
    return organization is None or (memory is not None and memory.reconciled)


def package_found(
    context: Context, memories: Memories, organization: str, body: Mapping[str, Any]
) -> PackageFound:
    """Return what is known of a package."""
    memory = memories.find(organization)
    metadata = body["metadata"]
    decided = memory.decided.get(metadata["name"]) if memory is not None else None
    if memory is None or decided is None or decided.uid != metadata["uid"]:
        return PackageFound(organization=organization)
    name, record = metadata["name"], decided.record
    return PackageFound(
        organization=organization,
        violation=decided.violation,
        waiting=decided.waiting,
        rollout=written(record) if record is not None else None,
        decided=decided.generation == metadata["generation"],
        asked=identity(decided.asked),
        suspended=decided.suspended,
        serving=_serving(memory, name),
        weights=_weights(memory, name),
        checks=_checks(memory, name, record),
        unmet=decided.unmet,
        history=_history(context, organization, body, record),
        absent=_absent(decided),
        obstacle=_obstacle(memory, name, record) or decided.unready,
    )


def _absent(decided: Decided) -> Waiting | None:
    if decided.asked is None or decided.absent_since is None:
        return None
    asked = decided.asked
    return Waiting(version=asked.version, checksum=asked.checksum, since=decided.absent_since)


def _obstacle(memory: Memory, package: str, record: Record | None) -> str:
    """Return what keeps the version that takes over from being loaded."""
    if record is None or record.progress.phase is not Phase.LOAD:
        return ""
    return _reports(memory).obstacle(package, record.progress.target)


def _reports(memory: Memory) -> Reports:
    return Reports({uid: one.state for uid, one in memory.following.replicas.items()})


def _checks(memory: Memory, package: str, record: Record | None) -> tuple[CheckSummary, ...]:
    """Return what the version that takes over, or the one that serves again, was found to be."""
    if record is None:
        return ()
    progress = record.progress
    version = progress.origin if progress.phase is Phase.RESTORE else progress.target
    if version is None:
        return ()
    found = _reports(memory).checks(package, version, nonce(progress, version))
    return tuple(
        CheckSummary(name=one.name[:128], passed=one.passed, message=one.message[:512])
        for report in found[:1]
        for one in report.results[:64]
    )


def _history(
    context: Context, organization: str, body: Mapping[str, Any], record: Record | None
) -> tuple[Revision, ...]:
    metadata = body["metadata"]
    past = history.recorded(context.cluster.children(organization), metadata["namespace"])
    target = record.progress.target if record is not None else None
    return deliveries.shown(past.get(metadata["uid"], ()), target)


def _serving(memory: Memory, package: str) -> tuple[str, str] | None:
    if memory.blueprint is None or not _followed(memory):
        return None
    for route in memory.blueprint.configuration.routes:
        heaviest = max(route.versions, key=lambda one: one.weight)
        if route.package == package and heaviest.weight:
            return heaviest.version, heaviest.checksum
    return None


def _followed(memory: Memory) -> bool:
    wanted = memory.blueprint.configuration.hash if memory.blueprint else ""
    return bool(wanted) and memory.following.followed == wanted


def _states(memory: Memory) -> list[RuntimeState]:
    replicas = memory.following.replicas.values()
    return [replica.state for replica in replicas if replica.state is not None]


def _weights(memory: Memory, package: str) -> dict[str, int] | None:
    """Return the versions that every replica has loaded."""
    loaded = [
        {one.version: one.weight for one in state.versions if one.package == package}
        for state in _states(memory)
    ]
    if not loaded:
        return None
    common = set.intersection(*(set(versions) for versions in loaded))
    return {version: loaded[0][version] for version in common}


def pool_found(memories: Memories, organization: str) -> PoolFound:
    """Return what is known of the organization's pool."""
    memory = memories.find(organization)
    states = _states(memory) if memory is not None else []
    usage = max((state.pool for state in states), key=lambda pool: pool.used_bytes, default=None)
    return PoolFound(organization=organization, usage=usage)


def news(
    context: Context, memories: Memories, organization: str, namespace: str
) -> dict[Key, object]:
    """Return what each member of the organization should be rung with."""
    told: dict[Key, object] = {}
    for body in context.inventory.packages(namespace):
        found = package_found(context, memories, organization, body)
        errors = [
            error and (error.reason, error.message) for error in (found.violation, found.waiting)
        ]
        told[Key.of(body)] = (replace(found, violation=None, waiting=None), errors)
    for body in context.inventory.pools(namespace):
        told[Key.of(body)] = pool_found(memories, organization).usage
    return told
