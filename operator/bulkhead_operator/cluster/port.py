"""What the rest of the operator may ask of the cluster, and the words it is said in.

`reconcile` depends on this page only, so that it can be read and tested without a client.
Manifests are plain JSON objects; nothing is deserialized into models.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple, Protocol

import orjson

from bulkhead_api.runtime_state import RuntimeState

Manifest = dict[str, Any]
EventType = Literal["Normal", "Warning"]


def digest(manifest: Mapping[str, Any]) -> str:
    """Return a short digest of a manifest: equal exactly when the canonical JSON is equal."""
    content = orjson.dumps(manifest, option=orjson.OPT_SORT_KEYS)
    return hashlib.blake2b(content, digest_size=12).hexdigest()


class ObjectKey(NamedTuple):
    """Names one object; `namespace` is None for cluster-scoped kinds.

    A tuple, because every look-up hashes and compares one, which is slow in a dataclass.
    """

    api_version: str
    kind: str
    namespace: str | None
    name: str

    @classmethod
    def of(cls, manifest: Mapping[str, Any]) -> "ObjectKey":
        """Return the key of a manifest."""
        metadata = manifest["metadata"]
        return cls(
            manifest["apiVersion"], manifest["kind"], metadata.get("namespace"), metadata["name"]
        )


@dataclass(frozen=True, slots=True)
class Child:
    """What is remembered of a live child: no content, only the verdict and a few facts.

    `contained` tells whether the live object contains everything that was wanted when it was last
    compared; `wanted` is the `digest` of the manifest that it was compared with (of the applied one
    after an apply, of `desired`'s one after a watch event), empty while nothing was wanted yet, so
    that a verdict about an older spec is never taken for one about today's. `facts` are the few
    values that status needs, in JSON's spelling:

    - Namespace, Deployment, ControllerRevision: `annotations`, those of our own group only
    - Namespace: `phase`
    - Deployment: `generation`, `observedGeneration`, `specReplicas`, `replicas`,
      `updatedReplicas`, `availableReplicas`, `unavailableReplicas` (0 when absent) and
      `conditions`: type to {status, reason, message} for Available, Progressing, ReplicaFailure
    - PersistentVolumeClaim: `phase`, `capacity`
    - ConfigMap: `keys`, the sorted names of its data
    - ControllerRevision: `revision`
    - Job: `ended` (Complete, Failed or empty) and its `reason`
    """

    key: ObjectKey
    uid: str
    contained: bool
    wanted: str = ""
    terminating: bool = False
    facts: Mapping[str, Any] = field(default_factory=dict)


class Cluster(Protocol):
    """The API server, as reconciling needs it.

    Every write is fenced: it raises `LeaseLost` once this process may no longer lead. Methods
    raise the `ClusterError` subclasses and nothing else.
    """

    def children(
        self, organization: str, wanted: Mapping[ObjectKey, Manifest] | None = None
    ) -> Mapping[ObjectKey, Child]:
        """Return the organization's labelled children as last seen by watch; no call is made.

        Children that were seen before anything was wanted (the first list after a start) are
        judged now, against `wanted`, else against what `desired` answers; so pass `wanted` in the
        first reconcile. A verdict is current when the child's `wanted` is the manifest's `digest`.
        Labels can be forged: keys may lie in any namespace, so prune only within the
        organization's own, and with the child's uid.
        """
        ...

    async def get(self, key: ObjectKey) -> Manifest | None:
        """Return one object, or None."""
        ...

    async def list(
        self, api_version: str, kind: str, namespace: str, label_selector: str
    ) -> Sequence[Manifest]:
        """Return the objects of one namespace that match the selector."""
        ...

    async def create(self, manifest: Manifest) -> Manifest | None:
        """Create an object; None when one of that name is already there."""
        ...

    async def apply(self, manifest: Manifest, organization: str, *, fresh: bool = False) -> Child:
        """Apply server-side with our field manager, forcing our fields.

        Unless `fresh` (the namespace was created by us a moment ago), an object that the watch
        does not know is read first, and refused with `NotOurs` when we never applied to it.
        """
        ...

    async def delete(
        self, key: ObjectKey, *, uid: str | None = None, foreground: bool = False
    ) -> None:
        """Delete an object, only the one with `uid` when given; absent is done."""
        ...

    async def patch(self, key: ObjectKey, body: Manifest) -> Manifest:
        """Merge-patch an object (annotations of pods, content of Secrets)."""
        ...

    async def patch_status(self, key: ObjectKey, uid: str, status: Manifest) -> Manifest:
        """Replace the status of one of our kinds, only of the object with `uid`."""
        ...

    async def add_finalizer(self, key: ObjectKey, uid: str) -> None:
        """Put our finalizer on the object, leaving others alone."""
        ...

    async def remove_finalizer(self, key: ObjectKey, uid: str) -> None:
        """Take our finalizer off the object, leaving others alone; absent is done."""
        ...

    def event(self, key: ObjectKey, uid: str, kind: EventType, reason: str, note: str) -> None:
        """Tell people about a change of one of our objects; never waits and never fails.

        `reason` is a past-tense CamelCase word, `note` one sentence without secrets. The same
        reason on the same object is not told again within ten minutes unless the note changed.
        """
        ...


class Runtimes(Protocol):
    """The internal port of the organizations' runtimes."""

    async def state(
        self,
        address: str,
        token: str,
        *,
        configuration_hash: str,
        wait_seconds: float,
        include: Sequence[str] = (),
    ) -> RuntimeState:
        """Ask one replica (its pod's IP) what is loaded.

        Answers as soon as the configuration with that hash is followed or refused, at the latest
        after `wait_seconds` (0 answers at once). `include` names what is not always told:
        `measurements`, `libraries`. Raises `ClusterError`.
        """
        ...
