"""A version of a package in the history: immutable content under a number that grows."""

import orjson

from bulkhead_operator.cluster.port import Manifest
from bulkhead_operator.resources import annotations
from bulkhead_operator.resources.blueprint import (
    Blueprint,
    Delivery,
    RevisionBlueprint,
    package_owner,
)


def revision_name(package: str, checksum: str) -> str:
    """Return the ControllerRevision's name: the package and the first of its checksum."""
    return f"{package}-{checksum.removeprefix('sha256:')[:10]}"


def build(blueprint: Blueprint, revision: RevisionBlueprint) -> Manifest:
    """Return the ControllerRevision that keeps a version; the package owns it."""
    manifest = blueprint.child(
        "apps/v1",
        "ControllerRevision",
        revision_name(revision.package, revision.checksum),
        component="package",
        owned=False,
        annotations={
            annotations.PACKAGE: revision.package,
            annotations.PACKAGE_UID: revision.package_uid,
            annotations.PACKAGE_VERSION: revision.version,
            annotations.PACKAGE_CHECKSUM: revision.checksum,
            **_delivery(revision.delivery),
        },
    )
    manifest["metadata"]["ownerReferences"] = [
        package_owner(revision.package, revision.package_uid)
    ]
    return manifest | {"data": orjson.loads(revision.document), "revision": revision.number}


def _delivery(delivery: Delivery) -> dict[str, str]:
    marks = {
        annotations.ROLLOUT_AT: delivery.at,
        annotations.ROLLOUT_CAUSE: delivery.cause,
        annotations.ROLLOUT_BY: delivery.by,
        annotations.ROLLOUT_OUTCOME: delivery.outcome,
    }
    return {name: value for name, value in marks.items() if value}
