"""The words in which machinery and domain speak of work: what to look at, and what came of it.

Handlers and watches ring keys, the queue runs a reconcile per key, and the outcome says when to
look again. Nothing here does anything.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, NamedTuple, Protocol

from bulkhead_api.names import API_VERSION
from bulkhead_operator.cluster.port import Manifest, ObjectKey

ORGANIZATION: Final = "OrganizationRuntime"
PACKAGE: Final = "AgentPackage"
POOL: Final = "MemoryPool"


class Key(NamedTuple):
    """Names one object of our three kinds; `namespace` is None for an OrganizationRuntime."""

    kind: str
    namespace: str | None
    name: str

    @classmethod
    def of(cls, manifest: Mapping[str, Any]) -> "Key":
        """Return the key of an object's body."""
        metadata = manifest["metadata"]
        return cls(manifest["kind"], metadata.get("namespace"), metadata["name"])

    @classmethod
    def organization(cls, name: str) -> "Key":
        """Return the key of an organization."""
        return cls(ORGANIZATION, None, name)

    def object_key(self) -> ObjectKey:
        """Return the same name as the cluster's port takes it."""
        return ObjectKey(API_VERSION, self.kind, self.namespace, self.name)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a reconcile came to; `requeue_after` is in seconds, None waits for an event alone."""

    requeue_after: float | None = None


DONE: Final = Outcome()

Reconcile = Callable[[Key], Awaitable[Outcome]]
"""Reconciles one key, whether or not its object still exists.

May raise `NotReadyYet` (looked at again after its delay) and `ClusterError` (retried with
backoff); anything else that it raises is a bug, which is logged and retried with backoff.
"""


class Controllers(Protocol):
    """What the domain offers to the machinery."""

    @property
    def reconcilers(self) -> Mapping[str, Reconcile]:
        """Return the reconcile of each kind, by the kind's name."""
        ...

    def desired(self, organization: str) -> Mapping[ObjectKey, Manifest] | None:
        """Return every child that is wanted now; None when that is not known yet.

        Asked by the watch for each event that is not the echo of our own write, so that drift is
        told from noise. Makes no call and must be cheap (a dictionary look-up, or one build).
        """
        ...
