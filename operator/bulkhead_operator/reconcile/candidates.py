"""Gathers the packages of a namespace with their past; former versions are read where need be."""

from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from time import time

from bulkhead_api.names import PACKAGE_CONFIG_MAP_PREFIX, package_key
from bulkhead_api.runtime_config import PackageDocument
from bulkhead_api.v1alpha1 import AgentPackage
from bulkhead_operator.cluster.port import Child, Manifest, ObjectKey
from bulkhead_operator.context import Context
from bulkhead_operator.errors import UserError
from bulkhead_operator.packages.asked import asked
from bulkhead_operator.packages.record import Record, read
from bulkhead_operator.packages.rollout import Phase, Progress, VersionId
from bulkhead_operator.reconcile import deliveries, history, sources
from bulkhead_operator.reconcile.candidate import Candidate
from bulkhead_operator.reconcile.draining import is_drained
from bulkhead_operator.reconcile.history import Recorded
from bulkhead_operator.reconcile.keys import Key
from bulkhead_operator.reconcile.memory import Memory
from bulkhead_operator.reconcile.parse import parsed, unknown_fields
from bulkhead_operator.status import reasons


@dataclass(frozen=True, slots=True)
class _Namespace:
    """What is the same for all packages."""

    context: Context
    memory: Memory
    loaded: Mapping[str, ObjectKey]
    """Files that the runtime is given now, and the ConfigMaps that hold them."""


async def gather(
    context: Context, organization: str, namespace: str, memory: Memory
) -> list[Candidate]:
    """Return every package that is not being deleted."""
    children = context.cluster.children(organization)
    past = history.recorded(children, namespace)
    around = _Namespace(context, memory, _loaded_files(children, namespace, memory))
    found = []
    in_use: set[str] = set()
    for body in context.inventory.packages(namespace):
        if "deletionTimestamp" in body["metadata"]:
            continue
        versions = past.get(body["metadata"]["uid"], [])
        found.append(await _candidate(around, body, versions))
        in_use.update(one.key.name for one in versions)
    memory.documents = {key: one for key, one in memory.documents.items() if key in in_use}
    sources.forget_departed(memory.sources, (one.package.metadata.uid for one in found))
    return found


async def _candidate(around: _Namespace, body: Manifest, versions: Sequence[Recorded]) -> Candidate:
    package, invalid = parsed(AgentPackage, body)
    wanted: PackageDocument | None = None
    if invalid is None:
        try:
            found = await sources.document(around.context, around.memory.sources, package)
            _refuse_unknown(body, found, versions)
            wanted = found
        except UserError as error:
            invalid = error
    record = read(package.status.rollout) or _recovered(versions)
    wish = None
    if wanted is not None:
        kept = {one.version: VersionId(one.version, one.checksum) for one in reversed(versions)}
        spec = VersionId(wanted.version, wanted.checksum)
        wish = asked(spec, package.metadata.annotations, record, kept)
    checksums = set(_named(record))
    if wish is not None:
        checksums.add(wish.target.checksum)
    available = [*versions, *_unrecorded(around, package, record, versions)]
    return Candidate(
        package=package,
        created=body["metadata"]["creationTimestamp"],
        asked=wish,
        invalid=invalid,
        record=record,
        history=versions,
        documents=await _documents(around, available, checksums, wanted),
        retained=await _retained(around, available, wanted),
        manager=around.context.inventory.manager(Key.of(body)),
    )


def _refuse_unknown(
    body: Manifest, wanted: PackageDocument | None, versions: Sequence[Recorded]
) -> None:
    """Refuse new content of which this release does not understand all.

    What is in the history already is what it was: a newer definition has only added defaults.
    """
    if wanted is None or any(one.checksum == wanted.checksum for one in versions):
        return
    unknown = unknown_fields(AgentPackage, body)
    if unknown:
        raise UserError(
            reasons.INVALID_SPEC,
            f"`{unknown[0]}` is not known to this release of the operator, though the definitions "
            "are newer: install the operator of the same release.",
        )


def _recovered(versions: Sequence[Recorded]) -> Record | None:
    """Return what served last by the history, for a status that was lost."""
    for one in versions:
        if one.delivery.outcome == deliveries.SUCCEEDED:
            target = VersionId(one.version, one.checksum)
            began = deliveries.seconds(one.delivery.at)
            progress = Progress(
                target, None, Phase.COMPLETE, int(time()), weight=100, started_at=began
            )
            return Record(progress)
    return None


def _unrecorded(
    around: _Namespace,
    package: AgentPackage,
    record: Record | None,
    versions: Sequence[Recorded],
) -> Iterable[Recorded]:
    """Return the version under way that the runtime was given, where its revision is missing.

    Both are written at once, and an operator may die in between.
    """
    if record is None or any(one.checksum == record.progress.target.checksum for one in versions):
        return
    name, target = package.metadata.name, record.progress.target
    key = around.loaded.get(package_key(name, target.version))
    if key is not None:
        uid = package.metadata.uid
        yield Recorded(key, "", name, uid, target.version, target.checksum, number=0)


def _named(record: Record | None) -> Iterable[str]:
    if record is None:
        return ()
    progress = record.progress
    return [one.checksum for one in (progress.target, progress.origin) if one is not None]


async def _documents(
    around: _Namespace,
    versions: Sequence[Recorded],
    checksums: AbstractSet[str],
    wanted: PackageDocument | None,
) -> dict[str, PackageDocument]:
    found = {} if wanted is None else {wanted.checksum: wanted}
    for one in versions:
        if one.checksum in checksums and one.checksum not in found:
            content = await _content(around, one)
            if content is not None:
                found[one.checksum] = content
    return found


async def _content(around: _Namespace, one: Recorded) -> PackageDocument | None:
    return await history.document(around.context.cluster, around.memory.documents, one)


async def _retained(
    around: _Namespace, versions: Sequence[Recorded], wanted: PackageDocument | None
) -> tuple[PackageDocument, ...]:
    """Return the versions that are loaded and may still have sessions."""
    found = []
    for one in versions:
        version = VersionId(one.version, one.checksum)
        if _file(one) in around.loaded and not is_drained(around.memory, one.package, version):
            content = wanted if wanted and wanted.checksum == one.checksum else None
            content = content or await _content(around, one)
            if content is not None:
                found.append(content)
    return tuple(found[: history.KEPT])


def _loaded_files(
    children: Mapping[ObjectKey, Child], namespace: str, memory: Memory
) -> Mapping[str, ObjectKey]:
    files: dict[str, ObjectKey] = {}
    for key, child in children.items():
        if key.namespace == namespace and key.name.startswith(PACKAGE_CONFIG_MAP_PREFIX):
            files |= dict.fromkeys(child.facts.get("keys", ()), key)
    if memory.blueprint is not None:
        for index, documents in enumerate(memory.blueprint.package_maps):
            name = f"{PACKAGE_CONFIG_MAP_PREFIX}{index}"
            files |= dict.fromkeys(documents, ObjectKey("v1", "ConfigMap", namespace, name))
    return files


def _file(one: Recorded) -> str:
    return package_key(one.package, one.version)
