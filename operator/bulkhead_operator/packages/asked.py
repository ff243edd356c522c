"""What is asked of a package: by its spec, and by people who annotate it.

A person's rollback holds until the annotation goes or the spec names something else; that is
remembered in the record, because nobody but the person may take the annotation away.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

from bulkhead_api.names import ANNOTATION_APPROVE_STEP, ANNOTATION_RETRY, ANNOTATION_ROLLBACK_TO
from bulkhead_api.v1alpha1.package_rollout import Rollout
from bulkhead_operator.packages.record import Record
from bulkhead_operator.packages.rollout import Plan, Step, VersionId

LONGEST_ANNOTATION: Final = 256


@dataclass(frozen=True, slots=True)
class Asked:
    """The version that is asked for; `unknown` is a version that no revision keeps."""

    target: VersionId
    rollback_to: str = ""
    instead_of: VersionId | None = None
    unknown: str = ""

    @property
    def going_back(self) -> bool:
        """Tell whether a person, and not the spec, asks for the target."""
        return self.instead_of is not None

    def noted(self, record: Record) -> Record:
        """Return the record that remembers which rollback it obeys."""
        return replace(record, rollback_to=self.rollback_to, instead_of=self.instead_of)


def asked(
    spec: VersionId,
    annotations: Mapping[str, str],
    record: Record | None,
    kept: Mapping[str, VersionId],
) -> Asked:
    """Return what is asked for, `kept` being the versions that revisions hold."""
    back = annotations.get(ANNOTATION_ROLLBACK_TO, "")[:LONGEST_ANNOTATION]
    if not back:
        return Asked(spec)
    if record is not None and record.rollback_to == back and record.instead_of != spec:
        # Followed once, and the spec went on since.
        return Asked(spec, rollback_to=back)
    target = kept.get(back)
    if target is None:
        return Asked(spec, rollback_to=record.rollback_to if record else "", unknown=back)
    return Asked(target, rollback_to=back, instead_of=spec)


def retry(annotations: Mapping[str, str]) -> str:
    """Return the request to try again."""
    return annotations.get(ANNOTATION_RETRY, "")[:LONGEST_ANNOTATION]


def approved_step(annotations: Mapping[str, str]) -> int:
    """Return the step, from 1, up to which a person lets the rollout go on; 0 for none."""
    text = annotations.get(ANNOTATION_APPROVE_STEP, "")
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 3 else 0  # noqa: PLR2004 (steps are few)


def plan(rollout: Rollout) -> Plan:
    """Return how the spec lets a version take over."""
    steps = tuple(
        Step(one.weight, None if one.approval else one.pause_seconds or 0) for one in rollout.steps
    )
    return Plan(steps, rollout.progress_deadline_seconds, rollout.automatic_rollback)
