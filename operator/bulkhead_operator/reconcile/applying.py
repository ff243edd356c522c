"""Makes the cluster contain what is wanted, in as few rounds as safety allows.

Everything is applied at once, but for orders that matter: Secrets come after the RoleBinding that
lets the operator write them, so after all of that, the claim with them, and the Deployment comes
last, when the network policies stand.
The quota comes with it: until its controller has counted, a new quota refuses whatever it bounds.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from bulkhead_api.names import PACKAGE_CONFIG_MAP_PREFIX
from bulkhead_operator.cluster.port import Child, Manifest, ObjectKey, digest
from bulkhead_operator.context import Context
from bulkhead_operator.errors import NotOurs, Refused, UserError
from bulkhead_operator.reconcile import history
from bulkhead_operator.reconcile.memory import Memory
from bulkhead_operator.resources import dedicated, installation
from bulkhead_operator.resources.blueprint import Blueprint
from bulkhead_operator.status import reasons

LAST: Final = frozenset({"Deployment", "ResourceQuota"})

BOUNDED: Final = "PersistentVolumeClaim"
"""Judged by the LimitRange: one that the API server does not know yet costs it a list."""


@dataclass(frozen=True, slots=True)
class Due:
    """What must be applied."""

    manifests: Mapping[ObjectKey, Manifest]
    repaired: tuple[ObjectKey, ...]
    """Those that somebody changed or deleted since they were applied."""


def due(
    context: Context, organization: str, wanted: Mapping[ObjectKey, Manifest], memory: Memory
) -> Due:
    """Return what the cluster does not contain yet, and remember what it does."""
    live = context.cluster.children(organization, wanted)
    manifests: dict[ObjectKey, Manifest] = {}
    repaired: list[ObjectKey] = []
    for key, manifest in wanted.items():
        fingerprint = digest(manifest)
        child = live.get(key)
        if child is not None and child.contained and child.wanted == fingerprint:
            memory.applied[key] = fingerprint
            continue
        manifests[key] = manifest
        if memory.applied.get(key) == fingerprint:
            repaired.append(key)
    return Due(manifests, tuple(repaired))


async def apply(
    context: Context,
    blueprint: Blueprint,
    manifests: Mapping[ObjectKey, Manifest],
    memory: Memory,
    *,
    fresh: bool,
    after_role: Callable[[], Awaitable[None]],
) -> None:
    """Apply what is due; `after_role` runs when the RoleBinding and all but the last stand.

    Raises `UserError` when an object of ours has a name that somebody else uses, or is invalid,
    else the first error.
    """

    async def one(key: ObjectKey, manifest: Manifest) -> None:
        # The claim has decided about the namespace; it may be one that we never applied to.
        known = fresh or key.kind == "Namespace"
        child = await context.cluster.apply(manifest, blueprint.name, fresh=known)
        memory.applied[key] = child.wanted

    def begun(keys: Iterable[ObjectKey]) -> list[asyncio.Future[None]]:
        return [asyncio.ensure_future(one(key, manifests[key])) for key in keys]

    async def role_then_rest(others: Sequence[asyncio.Future[None]]) -> None:
        await _all(role)
        # The API server's authorizer learns of the role meanwhile: sooner, it would refuse.
        if others:
            await asyncio.wait(others)
        await _all([after_role(), *begun(key for key in manifests if key.kind == BOUNDED)])

    role = begun(key for key in manifests if key.kind == "RoleBinding")
    waiting = {"RoleBinding", BOUNDED, *LAST}
    others = begun(key for key in manifests if key.kind not in waiting)
    await _all([role_then_rest(others), *others])
    await _all(begun(key for key in manifests if key.kind in LAST))


async def _all(tasks: Sequence[Awaitable[None]]) -> None:
    results = await asyncio.gather(*tasks, return_exceptions=True)
    errors = [result for result in results if isinstance(result, BaseException)]
    for error in sorted(errors, key=_gravity):
        raise _explained(error)


def _gravity(error: BaseException) -> int:
    if isinstance(error, NotOurs):
        return 0
    return 1 if isinstance(error, Refused) else 2


def _explained(error: BaseException) -> BaseException:
    if isinstance(error, NotOurs):
        return UserError(reasons.OBJECT_NOT_OURS, f"{error.message} Delete or rename that object.")
    if isinstance(error, Refused):
        return UserError(
            reasons.REFUSED, f"{error.message} Change the field of the spec that it came from."
        )
    return error


async def prune(context: Context, blueprint: Blueprint, memory: Memory) -> None:
    """Delete what is wanted no more: empty package maps and the end of each history."""
    children = context.cluster.children(blueprint.name)
    obsolete = [
        *_obsolete_maps(children, blueprint),
        *_obsolete_revisions(children, blueprint),
        *_obsolete_installations(children, blueprint),
    ]
    for key in obsolete:
        # The API server leaves a Job's pods behind unless told otherwise.
        await context.cluster.delete(key, uid=children[key].uid, foreground=key.kind == "Job")
        memory.applied.pop(key, None)


async def prune_images(context: Context, blueprint: Blueprint, memory: Memory) -> None:
    """Delete what ran versions that no replica sends anybody to any more."""
    following = memory.following
    if following.replicas and following.followed != blueprint.configuration.hash:
        return
    kept = {ObjectKey.of(manifest) for manifest in dedicated.build(blueprint)}
    children = context.cluster.children(blueprint.name)
    for key, child in children.items():
        ours = key.namespace == blueprint.namespace and dedicated.is_ours(key)
        if ours and key not in kept and not child.terminating:
            await context.cluster.delete(key, uid=child.uid)
            memory.applied.pop(key, None)


def _obsolete_installations(
    children: Mapping[ObjectKey, Child], blueprint: Blueprint
) -> list[ObjectKey]:
    """Return what nobody waits for; a Job that ended stays for a while, to be read."""
    wanted = {one.name for one in blueprint.installations}
    return [
        key
        for key, child in children.items()
        if key.namespace == blueprint.namespace
        and installation.is_ours(key)
        and key.name not in wanted
        and not child.terminating
        and not child.facts.get("ended")
    ]


def _obsolete_maps(children: Mapping[ObjectKey, Child], blueprint: Blueprint) -> list[ObjectKey]:
    kept = {f"{PACKAGE_CONFIG_MAP_PREFIX}{index}" for index in range(len(blueprint.package_maps))}
    return [
        key
        for key, child in children.items()
        if key.kind == "ConfigMap"
        and key.namespace == blueprint.namespace
        and key.name.startswith(PACKAGE_CONFIG_MAP_PREFIX)
        and key.name not in kept
        and not child.terminating
    ]


def _obsolete_revisions(
    children: Mapping[ObjectKey, Child], blueprint: Blueprint
) -> list[ObjectKey]:
    in_use = {revision.checksum for revision in blueprint.revisions}
    return [
        one.key
        for uid, versions in history.recorded(children, blueprint.namespace).items()
        for one in history.superfluous(
            versions,
            {version.checksum for version in versions} & in_use,
            blueprint.history_limits.get(uid, history.KEPT),
        )
        if not children[one.key].terminating
    ]
