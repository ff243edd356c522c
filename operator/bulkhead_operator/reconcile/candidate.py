"""One package as it is decided about: what is asked, what was, and the content of its versions."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from bulkhead_api.runtime_config import PackageDocument
from bulkhead_api.v1alpha1 import AgentPackage
from bulkhead_operator.errors import NotReadyYet, UserError
from bulkhead_operator.packages.asked import Asked
from bulkhead_operator.packages.record import Record
from bulkhead_operator.packages.rollout import UNDER_WAY, Phase, VersionId, weights
from bulkhead_operator.reconcile.history import Recorded

_UNSETTLED: Final = frozenset({*UNDER_WAY, Phase.RESTORE})


@dataclass(frozen=True, slots=True)
class Candidate:
    """One package with its past."""

    package: AgentPackage
    created: str
    asked: Asked | None
    """What the spec or a person asks for; None when the spec is not valid."""
    invalid: UserError | None = None
    record: Record | None = None
    history: Sequence[Recorded] = ()
    documents: Mapping[str, PackageDocument] = field(default_factory=dict)
    """Contents of the versions that may be loaded, by checksum."""
    retained: tuple[PackageDocument, ...] = ()
    """Versions that are loaded and may still have sessions."""
    manager: str = ""
    """Who asks, as the field manager calls itself."""

    @property
    def name(self) -> str:
        """Return the package's name."""
        return self.package.metadata.name

    @property
    def is_under_way(self) -> bool:
        """Tell whether the version that is asked for is on its way already."""
        record = self.record
        return (
            record is not None
            and self.asked is not None
            and record.progress.target == self.asked.target
            and record.progress.phase in UNDER_WAY
        )

    @property
    def serving(self) -> tuple[PackageDocument, ...]:
        """Return the contents that get new sessions now, as far as they are known."""
        return tuple(
            self.documents[version.checksum]
            for version in self.serving_versions
            if version.checksum in self.documents
        )

    @property
    def serving_versions(self) -> tuple[VersionId, ...]:
        """Return the versions that get new sessions now."""
        if self.record is None:
            return ()
        shares = weights(self.record.progress)
        return tuple(version for version, weight in shares.items() if weight)

    @property
    def target(self) -> PackageDocument | None:
        """Return the content that is asked for."""
        return self.documents.get(self.asked.target.checksum) if self.asked else None

    @property
    def replaces(self) -> bool:
        """Tell whether another version serves while one takes over."""
        return self.record is not None and self.record.progress.origin is not None

    def subject(self, *, blocked: bool) -> Asked | None:
        """Return what is decided about; None where nothing may begin or change.

        While what is asked for is blocked, what was asked for before goes no further, but is still
        taken back when it fails. A first version goes on: nothing else serves, and it may already.
        """
        if not blocked:
            return self.asked if self.target is not None else None
        if self.record is None or self.record.progress.phase not in _UNSETTLED:
            return None
        former = self.record.progress.target
        if self.target is not None and self.asked is not None:
            return replace(self.asked, target=former)
        has_spec = self.package.spec is not None
        return None if self.replaces or not has_spec else Asked(former)


@dataclass(frozen=True, slots=True)
class Decided:
    """What was decided about a package, at which generation of which object."""

    uid: str
    generation: int
    record: Record | None
    violation: UserError | None = None
    """Why a person must act."""
    waiting: NotReadyYet | None = None
    absent_since: int | None = None
    """Since when it waits for a package that does not exist, Unix seconds."""
    unready: str = ""
    """What its own pods or its installation wait for."""
    unmet: tuple[str, ...] = ()
    suspended: bool = False
    asked: VersionId | None = None
    by: str = ""
    wake_at: int | None = None
    watched: bool = False
    """Whether replicas are asked because of it."""
    measured: bool = False
    """Whether replicas are asked what its versions did."""
    begins: bool = False
    """Whether its rollout begins, for which replicas are asked anew."""
