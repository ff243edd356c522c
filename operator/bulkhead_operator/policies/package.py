"""Which version of each package is served.

Packages are judged oldest first, each by ordered rules. One that fails keeps its last good
version in service, so a broken package breaks neither itself nor another.
"""

from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Final
from urllib.parse import urlsplit

from bulkhead_api.names import OFFLINE_PROVIDER
from bulkhead_api.runtime_config import PackageDocument
from bulkhead_api.v1alpha1 import OrganizationRuntimeSpec
from bulkhead_api.v1alpha1.agents import Agent
from bulkhead_api.v1alpha1.limits import Limits
from bulkhead_api.v1alpha1.package_dependencies import RuntimeRequirements
from bulkhead_api.v1alpha1.package_image import PackageImage
from bulkhead_operator.errors import UserError
from bulkhead_operator.policies.rules import Rule
from bulkhead_operator.resources.configuration import BYTES_PER_MAP, document_size
from bulkhead_operator.status import reasons


@dataclass(frozen=True, slots=True)
class Offered:
    """What the organization offers to its packages."""

    providers: AbstractSet[str] = frozenset()
    credentials: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """Hosts that may learn a credential, by its name."""
    limits: Limits = field(default_factory=Limits)

    @classmethod
    def by(cls, spec: OrganizationRuntimeSpec) -> "Offered":
        """Return what a spec offers."""
        return cls(
            providers=frozenset(provider.name for provider in spec.models.providers),
            credentials={one.name: one.hosts for one in spec.tools.credentials},
            limits=spec.limits,
        )


@dataclass(frozen=True, slots=True)
class Judged:
    """A package's document, and what it must agree with."""

    document: PackageDocument
    text: str
    """The document as it would stand in a ConfigMap."""
    known_checksums: Mapping[str, str]
    """Versions of this package that were in service before, with their checksums."""
    offered: Offered
    taken: Mapping[str, str]
    """Agents that are in service or about to be, with their package's name."""
    requirements: RuntimeRequirements = field(default_factory=RuntimeRequirements)
    beside: Sequence[PackageImage] = ()
    """Images of all other versions that are loaded or about to be."""


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
        for name, model in _models(agent):
            provider = model.partition("/")[0]
            if provider != OFFLINE_PROVIDER and provider not in judged.offered.providers:
                return UserError(
                    reasons.UNKNOWN_PROVIDER,
                    f"`spec.agents[{index}].{name}` of agent '{agent.name}' is '{model}', but "
                    f"the organization has no provider '{provider}': add it to "
                    "`spec.models.providers` of the OrganizationRuntime or choose another model.",
                )
    return None


def _models(agent: Agent) -> Iterator[tuple[str, str]]:
    if agent.model is not None:
        yield "model", agent.model
    for index, model in enumerate(agent.fallbacks):
        yield f"fallbacks[{index}]", model


def sends_credentials_where_allowed(judged: Judged) -> UserError | None:
    """Refuse a tool whose credential does not exist or must not reach the tool's host."""
    for index, tool in enumerate(judged.document.tools):
        if tool.credential is None:
            continue
        hosts = judged.offered.credentials.get(tool.credential)
        if hosts is None:
            return UserError(
                reasons.UNKNOWN_CREDENTIAL,
                f"`spec.tools[{index}].credential` of tool '{tool.name}' is '{tool.credential}', "
                "which the organization does not have: add it to `spec.tools.credentials` of the "
                "OrganizationRuntime or name another.",
            )
        if not _names_host_of(hosts, tool.url):
            return UserError(
                reasons.CREDENTIAL_NOT_FOR_HOST,
                f"`spec.tools[{index}].url` of tool '{tool.name}' is '{tool.url}', a host that "
                f"must not learn the credential '{tool.credential}': add it to the `hosts` of "
                "that credential in the OrganizationRuntime or call another host.",
            )
    return None


def _names_host_of(patterns: Sequence[str], url: str) -> bool:
    host = urlsplit(url).hostname or ""
    return any(fnmatchcase(host, pattern.lower()) for pattern in patterns)


def defines_new_agents(judged: Judged) -> UserError | None:
    """Refuse an agent that another package had first."""
    return name_conflict(judged.document, judged.taken)


def name_conflict(document: PackageDocument, taken: Mapping[str, str]) -> UserError | None:
    """Return the conflict of a document's agents with those of other packages."""
    for index, agent in enumerate(document.agents):
        holder = taken.get(agent.name)
        if holder not in {None, document.package}:
            return UserError(
                reasons.NAME_CONFLICT,
                f"`spec.agents[{index}].name` is '{agent.name}', which AgentPackage '{holder}' "
                "defines too and had first: choose another name or remove it there.",
            )
    return None


def asks_for_what_the_limits_allow(judged: Judged) -> UserError | None:
    """Refuse a version that needs more memory or CPU than a replica may have."""
    asked, limits = judged.requirements, judged.offered.limits
    millicores = limits.max_cpu_percent * 10
    wishes = (
        ("memoryMB", asked.memory_mb, limits.max_memory_mb, "spec.limits.maxMemoryMB"),
        ("cpuMillicores", asked.cpu_millicores, millicores, "spec.limits.maxCPUPercent"),
    )
    for name, wanted, allowed, field_name in wishes:
        if wanted is not None and wanted > allowed:
            return UserError(
                reasons.REQUIREMENT_NOT_MET,
                f"`spec.runtimeRequirements.{name}` is {wanted}, but a replica has {allowed}: "
                f"raise `{field_name}` of the OrganizationRuntime or ask for less.",
            )
    return None


def runs_an_allowed_image(judged: Judged) -> UserError | None:
    """Refuse an image that the organization does not let run."""
    image, allowed = judged.document.image, judged.offered.limits.packages
    if image is None or any(fnmatchcase(image.reference, glob) for glob in allowed.images):
        return None
    return UserError(
        reasons.IMAGE_NOT_ALLOWED,
        f"`spec.image.reference` is '{image.reference}', which `spec.limits.packages.images` of "
        "the OrganizationRuntime does not allow: take another registry or have it added.",
    )


def has_pods_no_larger_than_a_replica(judged: Judged) -> UserError | None:
    """Refuse an image whose pod is larger than any container of the namespace may be."""
    image, limits = judged.document.image, judged.offered.limits
    if image is None:
        return None
    millicores = limits.max_cpu_percent * 10
    wishes = (
        ("memoryMB", image.memory_mb, limits.max_memory_mb, "spec.limits.maxMemoryMB"),
        ("cpuMillicores", image.cpu_millicores, millicores, "spec.limits.maxCPUPercent"),
    )
    for name, wanted, allowed, field_name in wishes:
        if wanted > allowed:
            return UserError(
                reasons.NO_ROOM_FOR_IMAGE,
                f"`spec.image.{name}` is {wanted}, more than the {allowed} of a replica: ask for "
                f"less, or have `{field_name}` of the OrganizationRuntime raised.",
            )
    return None


def leaves_room_for_its_pods(judged: Judged) -> UserError | None:
    """Refuse an image whose pods, one more while they are replaced, have no room left."""
    if judged.document.image is None:
        return None
    room, images = judged.offered.limits.packages, (*judged.beside, judged.document.image)
    wishes = (
        ("replicas", sum(one.replicas + 1 for one in images), room.pods, "packages.pods"),
        (
            "memoryMB",
            sum((one.replicas + 1) * one.memory_mb for one in images),
            room.memory_mb,
            "packages.memoryMB",
        ),
        (
            "cpuMillicores",
            sum((one.replicas + 1) * one.cpu_millicores for one in images),
            room.cpu_millicores,
            "packages.cpuMillicores",
        ),
    )
    for name, wanted, allowed, field_name in wishes:
        if wanted > allowed:
            return UserError(
                reasons.NO_ROOM_FOR_IMAGE,
                f"`spec.image.{name}` makes {wanted} with what runs already and one more pod of "
                f"each version while it is replaced, but {allowed} are allowed: have "
                f"`spec.limits.{field_name}` of the OrganizationRuntime raised or ask for less.",
            )
    return None


def fits(judged: Judged) -> UserError | None:
    """Refuse a document that no ConfigMap can hold."""
    size = document_size(judged.document.package, judged.text)
    if size <= BYTES_PER_MAP:
        return None
    return UserError(
        reasons.PACKAGE_TOO_LARGE,
        f"`spec.agents` and `spec.tools` take {size // 1024} KiB, at most "
        f"{BYTES_PER_MAP // 1024} KiB fit: shorten instructions or split the package.",
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
    sends_credentials_where_allowed,
    defines_new_agents,
    asks_for_what_the_limits_allow,
    runs_an_allowed_image,
    has_pods_no_larger_than_a_replica,
    leaves_room_for_its_pods,
    fits,
)
