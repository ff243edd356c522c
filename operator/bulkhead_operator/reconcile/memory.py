"""What is remembered of each organization between two reconciles of one term of leadership.

Nothing here is needed to be right, only to be cheap: whatever is lost with the process is read
from the cluster again.
"""

import asyncio
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field, fields

from bulkhead_api.runtime_config import PackageDocument
from bulkhead_api.runtime_state import RuntimeState
from bulkhead_operator.cluster.port import ObjectKey
from bulkhead_operator.reconcile.candidate import Decided
from bulkhead_operator.reconcile.keys import Key
from bulkhead_operator.reconcile.references import Missing
from bulkhead_operator.reconcile.sources import Cache
from bulkhead_operator.resources.blueprint import Blueprint


@dataclass(slots=True)
class Replica:
    """One pod of the runtime."""

    name: str
    address: str
    state: RuntimeState | None = None


@dataclass(slots=True)
class SecretsSeen:
    """When the Secrets were looked at last, and what there was."""

    at: float
    internal_token: str
    missing: Missing
    asked_for: tuple[tuple[str, ...], ...]
    """Every Secret's field and every ConfigMap that the spec names."""


@dataclass(frozen=True, slots=True)
class Image:
    """Versions of what a runtime is made of."""

    runtime: str
    python: str
    libraries: Mapping[str, str]


@dataclass(slots=True)
class Following:
    """How far the runtime follows the configuration."""

    replicas: dict[str, Replica] = field(default_factory=dict)
    """By the pod's uid."""
    asked_at: float = float("-inf")
    signature: tuple[object, ...] = ()
    """What was wanted and what the Deployment looked like when asked last."""
    followed: str = ""
    """Hash of the configuration that every replica follows."""
    attempts: int = 0
    starting_since: float | None = None
    """Since when pods are there of which none is available."""
    refused: dict[str, tuple[str, str]] = field(default_factory=dict)
    """Files that the runtime refused for good: the checksum and the reason."""
    crashing_since: int | None = None
    """When the last container that the kubelet restarts again and again ended, Unix seconds."""
    image: Image | None = None
    """What the runtime's image holds; None until somebody needed to know and it was told."""
    wants_image: bool = False


@dataclass(slots=True)
class Memory:
    """One organization."""

    wanted_namespace: str = ""
    """What the spec asks for, claimed or not."""
    namespace_uid: str = ""
    blueprint: Blueprint | None = None
    held: bool = False
    """Whether an upgrade of the operator waits to restart the pods."""
    applied: dict[ObjectKey, str] = field(default_factory=dict)
    """Digests of what this process applied or found contained."""
    documents: dict[str, PackageDocument] = field(default_factory=dict)
    """Former versions in use, by the name of their ControllerRevision."""
    decided: dict[str, Decided] = field(default_factory=dict)
    """What was decided about each package."""
    sources: Cache = field(default_factory=dict)
    """What was read from the ConfigMaps of packages."""
    writing: defaultdict[str, asyncio.Lock] = field(
        default_factory=lambda: defaultdict(asyncio.Lock)
    )
    """Held while the status of a package is computed and written: an older one never comes last."""
    secrets: SecretsSeen | None = None
    following: Following = field(default_factory=Following)
    reconciled: bool = False
    """Whether this process came to an outcome; before, members know nothing worth reporting."""
    told: dict[Key, object] = field(default_factory=dict)
    """What packages and the pool were last rung with."""

    def reset(self) -> None:
        """Forget everything: the namespace is another one, and nothing of before is in it."""
        empty = Memory()
        for one in fields(self):
            setattr(self, one.name, getattr(empty, one.name))


class Memories:
    """All organizations."""

    def __init__(self) -> None:
        self._memories: dict[str, Memory] = {}

    def of(self, organization: str) -> Memory:
        """Return what is remembered of an organization, at first nothing."""
        return self._memories.setdefault(organization, Memory())

    def find(self, organization: str) -> Memory | None:
        """Return what is remembered of an organization, or None."""
        return self._memories.get(organization)

    def forget(self, organization: str) -> Memory | None:
        """Drop an organization that is gone and return what was remembered."""
        return self._memories.pop(organization, None)
