"""Which version of each package is served.

Packages are judged oldest first, each by ordered rules. One that fails keeps its last good
version in service, so a broken package breaks neither itself nor another.
"""

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Final

from bulkhead_api.names import OFFLINE_PROVIDER
from bulkhead_api.runtime_config import PackageDocument
from bulkhead_operator.errors import UserError
from bulkhead_operator.policies.rules import Rule
from bulkhead_operator.resources.configuration import BYTES_PER_MAP, document_size
from bulkhead_operator.status import reasons


@dataclass(frozen=True, slots=True)
class Judged:
    """A package's document, and what it must agree with."""

    document: PackageDocument
    text: str
    """The document as it would stand in a ConfigMap."""
    known_checksums: Mapping[str, str]
    """Versions of this package that were in service before, with their checksums."""
    providers: AbstractSet[str]
    """Names of the organization's providers."""
    taken: Mapping[str, str]
    """Agents of older packages, with the package's name."""


def keeps_the_content_of_a_version(judged: Judged) -> UserError | None:
    """Refuse a version that was in service before with other content."""
    document = judged.document
    known = judged.known_checksums.get(document.version)
    if known is None or known == document.checksum:
        return None
    return UserError(
        reasons.VERSION_CONTENT_CHANGED,
        f"`spec.version` is '{document.version}', which was in service with other content "
        f"({known}): give the new content a new version.",
    )


def names_known_providers(judged: Judged) -> UserError | None:
    """Refuse an agent on a provider that the organization does not have."""
    for index, agent in enumerate(judged.document.agents):
        provider = (agent.model or "").partition("/")[0]
        if agent.model and provider != OFFLINE_PROVIDER and provider not in judged.providers:
            return UserError(
                reasons.UNKNOWN_PROVIDER,
                f"`spec.agents[{index}].model` of agent '{agent.name}' is '{agent.model}', but "
                f"the organization has no provider '{provider}': add it to "
                "`spec.models.providers` of the OrganizationRuntime or choose another model.",
            )
    return None


def defines_new_agents(judged: Judged) -> UserError | None:
    """Refuse an agent that an older package defines."""
    return name_conflict(judged.document, judged.taken)


def name_conflict(document: PackageDocument, taken: Mapping[str, str]) -> UserError | None:
    """Return the conflict of a document's agents with those of older packages."""
    for index, agent in enumerate(document.agents):
        holder = taken.get(agent.name)
        if holder is not None:
            return UserError(
                reasons.NAME_CONFLICT,
                f"`spec.agents[{index}].name` is '{agent.name}', which AgentPackage '{holder}' "
                "defines too and had first: choose another name or remove it there.",
            )
    return None


def fits(judged: Judged) -> UserError | None:
    """Refuse a document that no ConfigMap can hold."""
    size = document_size(judged.document.package, judged.text)
    if size <= BYTES_PER_MAP:
        return None
    return UserError(
        reasons.PACKAGE_TOO_LARGE,
        f"`spec.agents` takes {size // 1024} KiB, at most {BYTES_PER_MAP // 1024} KiB fit: "
        "shorten instructions or split the package.",
    )


def no_room(package: str) -> UserError:
    """Return the violation of a package for which all ConfigMaps together have no room left."""
    return UserError(
        reasons.TOO_MANY_PACKAGES,
        f"`metadata.name` '{package}' does not fit: the packages of this organization take all "
        "the room there is; remove a package or split the organization.",
    )


RULES: Final[tuple[Rule[Judged], ...]] = (
    keeps_the_content_of_a_version,
    names_known_providers,
    defines_new_agents,
    fits,
)
