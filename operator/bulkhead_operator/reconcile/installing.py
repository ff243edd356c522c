"""Follows the Jobs that prepare versions: which must run, which have ended, and how.

A Job belongs to one try of one version. One that ended well is not run again as long as it is
known, whatever is tried later; going back to a version installs nothing.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from bulkhead_api.runtime_config import PackageDocument
from bulkhead_api.v1alpha1.package_dependencies import Installation
from bulkhead_operator.cluster.port import Child, ObjectKey
from bulkhead_operator.packages.pods import Pods
from bulkhead_operator.packages.rollout import Failure, Phase
from bulkhead_operator.reconcile.candidate import Candidate
from bulkhead_operator.resources import annotations, installation
from bulkhead_operator.resources.blueprint import InstallationBlueprint
from bulkhead_operator.status import reasons


@dataclass(frozen=True, slots=True)
class Installing:
    """What is to be there for versions that are being installed, and what they wait for."""

    wanted: tuple[InstallationBlueprint, ...] = ()
    pods: Pods = field(default_factory=Pods)


def observe(
    children: Mapping[ObjectKey, Child], namespace: str, found: Sequence[Candidate]
) -> Installing:
    """Return how far the installation of every version that takes over is."""
    wanted: list[InstallationBlueprint] = []
    waiting: dict[str, str] = {}
    failures: dict[str, Failure] = {}
    jobs = {
        key: child
        for key, child in children.items()
        if key.kind == "Job" and key.namespace == namespace and not child.terminating
    }
    for one, document in _to_install(found, jobs.values()):
        waiting[document.checksum] = "its installation has not begun"
        started_at = _begun_at(one)
        if started_at is None:
            continue
        key = installation.job_key(namespace, document.package, document.checksum, started_at)
        job = jobs.get(key)
        waiting[document.checksum] = f"its installation, Job {key.name}, has not ended"
        if job is not None and job.facts.get("ended") == "Failed":
            failures[document.checksum] = _failed(key, job)
        missing = job is None and not one.package.spec.suspend
        wanted.append(_blueprint(key.name, one, document, missing=missing))
    return Installing(tuple(wanted), Pods(waiting=waiting, failures=failures))


def _blueprint(
    name: str, one: Candidate, document: PackageDocument, *, missing: bool
) -> InstallationBlueprint:
    return InstallationBlueprint(
        name=name,
        package=document.package,
        package_uid=one.package.metadata.uid,
        version=document.version,
        checksum=document.checksum,
        steps=steps_of(document),
        missing=missing,
    )


def steps_of(document: PackageDocument) -> dict[str, Installation]:
    """Return the steps of a version by the name of their container, in the spec's order."""
    return {
        f"dependency-{index:02}": one.installation
        for index, one in enumerate(document.dependencies)
        if one.installation is not None
    }


def together(images: Pods, installing: Pods) -> Pods:
    """Return what is known of both; a version without pods does not wait for its steps first."""
    return replace(
        images,
        waiting={**images.waiting, **installing.waiting},
        ringing=frozenset(installing.waiting.keys() - images.waiting.keys()),
        failures={**images.failures, **installing.failures},
    )


def _to_install(
    found: Iterable[Candidate], jobs: Collection[Child]
) -> Iterable[tuple[Candidate, PackageDocument]]:
    """Yield what is about to take over, or waits to, and is not installed yet."""
    for one in found:
        document = one.target
        if one.asked is None or one.asked.going_back or document is None:
            continue
        progress = one.record.progress if one.record is not None else None
        past = (
            progress is not None
            and progress.target == one.asked.target
            and progress.phase not in {Phase.LOAD, Phase.RESTORED}
        )
        if not past and steps_of(document) and not _is_installed(document, one, jobs):
            yield one, document


def _begun_at(one: Candidate) -> int | None:
    """Return when the rollout that installs began; None before it was written down."""
    if one.record is None or one.asked is None:
        return None
    progress = one.record.progress
    begun = progress.target == one.asked.target and progress.phase is Phase.LOAD
    return progress.started_at if begun else None


def _is_installed(document: PackageDocument, one: Candidate, jobs: Iterable[Child]) -> bool:
    """Tell whether a Job for this very content ended well, in this try or an earlier one."""
    for job in jobs:
        marks = job.facts.get("annotations", {})
        about = (marks.get(annotations.PACKAGE_UID), marks.get(annotations.PACKAGE_CHECKSUM))
        done = job.facts.get("ended") == "Complete"
        if done and about == (one.package.metadata.uid, document.checksum):
            return True
    return False


def _failed(key: ObjectKey, job: Child) -> Failure:
    why = job.facts.get("reason") or "it failed"
    return Failure(
        reasons.INSTALLATION_FAILED,
        f"its installation did not end well ({why}): see kubectl logs -n {key.namespace} "
        f"job/{key.name} --all-containers",
    )
