"""Whether an organization may have a namespace: claimed once, never taken from anybody.

A namespace is ours when we made it for this very object (its uid stands on it), or when a person
made it, annotated it with the organization's name, and the organization's spec names it. Labels
decide nothing.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from bulkhead_api.names import ANNOTATION_ORGANIZATION, default_namespace
from bulkhead_api.v1alpha1 import OrganizationRuntime
from bulkhead_operator.errors import UserError
from bulkhead_operator.policies.rules import Rule
from bulkhead_operator.resources import annotations
from bulkhead_operator.status import reasons


@dataclass(frozen=True, slots=True)
class NamespaceFacts:
    """What is known of a live namespace."""

    uid: str
    annotations: Mapping[str, str]
    terminating: bool = False


@dataclass(frozen=True, slots=True)
class Rival:
    """Another organization that wants the same namespace."""

    name: str
    created: str


@dataclass(frozen=True, slots=True)
class Claim:
    """An organization asks for its namespace; `live` is None when there is none of that name."""

    organization: OrganizationRuntime
    created: str
    """creationTimestamp of the organization."""
    live: NamespaceFacts | None
    rivals: tuple[Rival, ...]
    operator_namespace: str

    @property
    def namespace(self) -> str:
        """Return the name of the namespace that is asked for."""
        return wanted_namespace(self.organization)


def wanted_namespace(organization: OrganizationRuntime) -> str:
    """Return the namespace that the spec asks for."""
    return organization.spec.namespace or default_namespace(organization.metadata.name)


def made_for(organization: OrganizationRuntime, live: NamespaceFacts) -> bool:
    """Tell whether the operator made the namespace for this very object."""
    uid = live.annotations.get(annotations.ORGANIZATION_UID)
    return organization.spec.namespace is None and uid == organization.metadata.uid


def is_not_the_operators(claim: Claim) -> UserError | None:
    """Refuse the namespace that the operator itself runs in."""
    if claim.namespace != claim.operator_namespace:
        return None
    return UserError(
        reasons.NAMESPACE_NOT_OURS,
        f"`spec.namespace` is '{claim.namespace}', where the operator itself runs: delete this "
        "OrganizationRuntime and make it again with a namespace of its own.",
    )


def is_wanted_first(claim: Claim) -> UserError | None:
    """Refuse what an older organization wants; of the same age, the first name has it."""
    mine = (claim.created, claim.organization.metadata.name)
    older = sorted((rival.created, rival.name) for rival in claim.rivals)
    if not older or mine < older[0]:
        return None
    return UserError(
        reasons.NAMESPACE_CLAIMED,
        f"`spec.namespace` is '{claim.namespace}', which OrganizationRuntime '{older[0][1]}' "
        "claimed before: delete this OrganizationRuntime and make it again with another "
        "`spec.namespace`.",
    )


def exists_when_named(claim: Claim) -> UserError | None:
    """Refuse a named namespace that is not there: the operator makes only its own."""
    if claim.live is not None or claim.organization.spec.namespace is None:
        return None
    return UserError(
        reasons.NAMESPACE_NOT_FOUND,
        f"`spec.namespace` is '{claim.namespace}', which does not exist: create that namespace "
        f"with the annotation {ANNOTATION_ORGANIZATION}: {claim.organization.metadata.name}.",
    )


def is_annotated_when_named(claim: Claim) -> UserError | None:
    """Refuse a named namespace that nobody meant for this organization."""
    if claim.live is None or claim.organization.spec.namespace is None:
        return None
    name = claim.organization.metadata.name
    found = claim.live.annotations.get(ANNOTATION_ORGANIZATION)
    if found == name:
        return None
    says = f"says '{found}'" if found else "is absent"
    return UserError(
        reasons.NAMESPACE_NOT_OURS,
        f"`spec.namespace` is '{claim.namespace}', whose annotation {ANNOTATION_ORGANIZATION} "
        f"{says}: run `kubectl annotate namespace {claim.namespace} "
        f"{ANNOTATION_ORGANIZATION}={name}` if it is meant for this organization.",
    )


def was_made_for_it_when_not_named(claim: Claim) -> UserError | None:
    """Refuse a namespace of our naming scheme that somebody else made."""
    if claim.live is None or claim.organization.spec.namespace is not None:
        return None
    if made_for(claim.organization, claim.live):
        return None
    name = claim.organization.metadata.name
    return UserError(
        reasons.NAMESPACE_NOT_OURS,
        f"`spec.namespace` is absent and the namespace '{claim.namespace}' exists already, made "
        "by somebody else: delete that namespace, or make this OrganizationRuntime again with "
        f"`spec.namespace: {claim.namespace}` and annotate the namespace with "
        f"{ANNOTATION_ORGANIZATION}: {name}.",
    )


RULES: Final[tuple[Rule[Claim], ...]] = (
    is_not_the_operators,
    is_wanted_first,
    exists_when_named,
    is_annotated_when_named,
    was_made_for_it_when_not_named,
)
