"""What builders are given: everything that was decided, nothing that must still be asked."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from bulkhead_api.names import API_VERSION
from bulkhead_api.runtime_config import RuntimeConfig
from bulkhead_api.v1alpha1 import OrganizationRuntime
from bulkhead_api.v1alpha1.organization_runtime import EgressRule
from bulkhead_api.v1alpha1.package_dependencies import Installation
from bulkhead_api.v1alpha1.package_image import PackageImage
from bulkhead_operator.cluster.port import Manifest
from bulkhead_operator.resources import labels
from bulkhead_operator.settings import Settings


@dataclass(frozen=True, slots=True)
class Delivery:
    """How a version came: when its last rollout began, what and who asked for it, its outcome."""

    at: str = ""
    cause: str = ""
    by: str = ""
    outcome: str = ""


@dataclass(frozen=True, slots=True)
class RevisionBlueprint:
    """One version of one package as it goes into the history."""

    package: str
    package_uid: str
    version: str
    checksum: str
    number: int
    document: str
    """The version's content as JSON."""
    delivery: Delivery = Delivery()


@dataclass(frozen=True, slots=True)
class ImageBlueprint:
    """One version of one package that answers from an image of its own."""

    package: str
    package_uid: str
    version: str
    checksum: str
    image: PackageImage


@dataclass(frozen=True, slots=True)
class InstallationBlueprint:
    """One version of one package whose dependencies are being prepared."""

    name: str
    package: str
    package_uid: str
    version: str
    checksum: str
    steps: Mapping[str, Installation]
    """What is run, by the name of its container, one after the other."""
    missing: bool
    """Whether its Job is still to be made."""


@dataclass(frozen=True, slots=True)
class Blueprint:
    """One organization's decided state."""

    organization: OrganizationRuntime
    namespace: str
    namespace_made: bool
    """Whether the operator made the namespace, and not a person."""
    settings: Settings
    configuration: RuntimeConfig
    egress: tuple[EgressRule, ...] = ()
    """The entries of spec.network.egress that are allowed."""
    package_maps: tuple[Mapping[str, str], ...] = ()
    """Data of the ConfigMaps runtime-packages-0, -1 and so on."""
    revisions: tuple[RevisionBlueprint, ...] = ()
    history_limits: Mapping[str, int] = field(default_factory=dict)
    """Revisions to keep, by the package's uid."""
    pull_secrets: tuple[str, ...] = ()
    """Secrets for registries that packages name, in order."""
    images: tuple[ImageBlueprint, ...] = ()
    """Versions that are loaded and answer from an image."""
    installations: tuple[InstallationBlueprint, ...] = ()
    """Versions whose dependencies are being prepared."""
    upgrade: str = ""
    """Hash of the pod template that a changed operator, and no person, rolled out last."""

    @property
    def name(self) -> str:
        """Return the organization's name."""
        return self.organization.metadata.name

    @property
    def shares_stores(self) -> bool:
        """Return whether data lies in stores that replicas share, and so on no volume."""
        return self.organization.spec.storage.postgres is not None

    def child(
        self,
        api_version: str,
        kind: str,
        name: str,
        *,
        component: str = "runtime",
        owned: bool = True,
        annotations: Mapping[str, str] | None = None,
    ) -> Manifest:
        """Return the head of a child in the organization's namespace.

        Without `owned` there is no owner reference: such a child holds data, and the deletion
        policy decides about it instead of the garbage collector.
        """
        metadata: Manifest = {
            "name": name,
            "namespace": self.namespace,
            "labels": labels.standard(self.name, component),
        }
        if annotations:
            metadata["annotations"] = dict(annotations)
        if owned:
            metadata["ownerReferences"] = [labels.owner(self.organization)]
        return {"apiVersion": api_version, "kind": kind, "metadata": metadata}


def runtime_id(organization: OrganizationRuntime) -> str:
    """Return the id of the organization's runtime: new with every new object of that name."""
    return f"rt-{organization.metadata.uid.replace('-', '')[:16]}"


def package_owner(package: str, uid: str) -> Manifest:
    """Return the owner reference to a package: what belongs to it goes when it goes."""
    return {
        "apiVersion": API_VERSION,
        "kind": "AgentPackage",
        "name": package,
        "uid": uid,
        "controller": True,
    }
