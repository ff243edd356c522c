"""The versions that packages had: ControllerRevisions, as far as the watch knows them."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from pydantic import ValidationError

from bulkhead_api.names import package_key
from bulkhead_api.runtime_config import PackageDocument
from bulkhead_operator.cluster.port import Child, Cluster, ObjectKey
from bulkhead_operator.resources import annotations
from bulkhead_operator.resources.blueprint import Delivery

KEPT: Final = 10
"""Revisions of one package, those that still serve sessions included."""


@dataclass(frozen=True, slots=True)
class Recorded:
    """One version of one package in the history."""

    key: ObjectKey
    """Of what holds its content: its revision, or the ConfigMap that gives it to the runtime."""
    uid: str
    package: str
    package_uid: str
    version: str
    checksum: str
    number: int
    delivery: Delivery = field(default_factory=Delivery)


def recorded(children: Mapping[ObjectKey, Child], namespace: str) -> dict[str, list[Recorded]]:
    """Return the history of each package of the namespace, newest first, by the package's uid."""
    history: dict[str, list[Recorded]] = {}
    for key, child in children.items():
        if key.kind == "ControllerRevision" and key.namespace == namespace:
            one = _recorded(child)
            history.setdefault(one.package_uid, []).append(one)
    for versions in history.values():
        versions.sort(key=lambda one: one.number, reverse=True)
    return history


def _recorded(child: Child) -> Recorded:
    marks = child.facts.get("annotations", {})
    return Recorded(
        key=child.key,
        uid=child.uid,
        package=marks.get(annotations.PACKAGE, ""),
        package_uid=marks.get(annotations.PACKAGE_UID, ""),
        version=marks.get(annotations.PACKAGE_VERSION, ""),
        checksum=marks.get(annotations.PACKAGE_CHECKSUM, ""),
        number=child.facts.get("revision", 0),
        delivery=Delivery(
            at=marks.get(annotations.ROLLOUT_AT, ""),
            cause=marks.get(annotations.ROLLOUT_CAUSE, ""),
            by=marks.get(annotations.ROLLOUT_BY, ""),
            outcome=marks.get(annotations.ROLLOUT_OUTCOME, ""),
        ),
    )


def superfluous(
    versions: Iterable[Recorded], in_use: Iterable[str], kept: int = KEPT
) -> list[Recorded]:
    """Return what of one package's history, newest first, may go; never a checksum in use."""
    needed = set(in_use)
    others = [one for one in versions if one.checksum not in needed]
    return others[max(kept - len(needed), 0) :]


async def document(
    cluster: Cluster, cache: dict[str, PackageDocument], one: Recorded
) -> PackageDocument | None:
    """Return the content of a version; None when it is gone or not what its checksum says."""
    known = cache.get(one.key.name)
    if known is not None and known.checksum == one.checksum:
        return known
    live = await cluster.get(one.key)
    if live is None:
        return None
    try:
        found = _content(one, live.get("data"))
    except ValidationError:
        return None
    if found.checksum != one.checksum or not found.intact():
        return None
    cache[one.key.name] = found
    return found


def _content(one: Recorded, data: Any) -> PackageDocument:
    if one.key.kind == "ConfigMap":
        file = package_key(one.package, one.version)
        return PackageDocument.model_validate_json((data or {}).get(file, ""))
    return PackageDocument.model_validate(data)
