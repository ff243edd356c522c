"""Looks at the pods of versions with an image: at the Deployment, and at pods that do not start.

A Deployment rings when its figures change; why pods do not start only they say, so they are asked
while a rollout waits for them, and not otherwise.
"""

from collections.abc import Iterable, Sequence

from bulkhead_api.runtime_config import PackageDocument
from bulkhead_operator.cluster.port import Child
from bulkhead_operator.context import Context
from bulkhead_operator.packages.pods import Pods, trouble
from bulkhead_operator.packages.rollout import UNDER_WAY, Failure
from bulkhead_operator.reconcile.candidate import Candidate
from bulkhead_operator.resources import dedicated


async def observe(
    context: Context, organization: str, namespace: str, found: Sequence[Candidate]
) -> Pods:
    """Return what is known of the pods of all versions that may be loaded."""
    children = context.cluster.children(organization)
    waiting: dict[str, str] = {}
    down: set[str] = set()
    failures: dict[str, Failure] = {}
    for one in found:
        for document in _imaged(one):
            key = dedicated.deployment_key(namespace, document.package, document.checksum)
            child = children.get(key)
            if _is_ready(document, child):
                continue
            waiting[document.checksum] = "its pods are not ready"
            if child is None or not child.facts.get("availableReplicas", 0):
                down.add(document.checksum)
            if child is not None and _takes_over(one, document):
                selector = dedicated.selector_text(organization, key.name)
                pods = await context.cluster.list("v1", "Pod", namespace, selector)
                said, failure = trouble(pods)
                waiting[document.checksum] = said or waiting[document.checksum]
                if failure is not None:
                    failures[document.checksum] = failure
    return Pods(waiting, frozenset(down), failures)


def _imaged(one: Candidate) -> Iterable[PackageDocument]:
    documents = {document.checksum: document for document in one.retained} | dict(one.documents)
    return (document for document in documents.values() if document.image is not None)


def _is_ready(document: PackageDocument, child: Child | None) -> bool:
    assert document.image is not None
    if child is None or child.terminating:
        return False
    facts = child.facts
    seen: bool = facts.get("observedGeneration", 0) >= facts.get("generation", 0)
    available: int = facts.get("availableReplicas", 0)
    return seen and available >= document.image.replicas


def _takes_over(one: Candidate, document: PackageDocument) -> bool:
    if one.record is None or one.record.progress.phase not in UNDER_WAY:
        return False
    return one.record.progress.target.checksum == document.checksum
