"""Organizations and what was decided about them, for tests of what is built from that."""

from dataclasses import replace
from typing import Any

from bulkhead_api.names import default_namespace
from bulkhead_api.runtime_config import (
    ModelsConfig,
    PackageDocument,
    PackageRoute,
    PoolConfig,
    RuntimeConfig,
    VersionRoute,
)
from bulkhead_api.v1alpha1 import AgentPackage, OrganizationRuntime
from bulkhead_operator.resources.blueprint import Blueprint, RevisionBlueprint, runtime_id
from bulkhead_operator.settings import Settings

UID = "6c0ffee0-1234-4321-8888-00000000acde"
CREATED = "2026-01-01T00:00:00Z"


def organization_body(
    name: str = "acme", spec: dict[str, Any] | None = None, **metadata: Any
) -> dict[str, Any]:
    """Return an OrganizationRuntime as the API server delivers it."""
    return {
        "apiVersion": "bulkhead.dev/v1alpha1",
        "kind": "OrganizationRuntime",
        "metadata": {
            "name": name,
            "uid": UID,
            "generation": 3,
            "resourceVersion": "7",
            "creationTimestamp": CREATED,
        }
        | metadata,
        "spec": spec or {},
        "status": {"observedGeneration": -1},
    }


def organization(name: str = "acme", spec: dict[str, Any] | None = None) -> OrganizationRuntime:
    """Return a parsed OrganizationRuntime."""
    return OrganizationRuntime.model_validate(organization_body(name, spec))


def agent(name: str, **fields: Any) -> dict[str, Any]:
    """Return an agent of a package."""
    return {"name": name, **fields}


def package(name: str, version: str, *agents: dict[str, Any], uid: str = "") -> AgentPackage:
    """Return a parsed AgentPackage."""
    return AgentPackage.model_validate(
        {
            "metadata": {"name": name, "namespace": "org-acme", "uid": uid or f"uid-{name}"},
            "spec": {"version": version, "agents": list(agents) or [agent(name)]},
        }
    )


def document(one: AgentPackage) -> PackageDocument:
    """Return the document of a package's version."""
    return PackageDocument.of(one.metadata.name, one.spec.version, one.spec.agents)


_IN = "kubernetes.io/metadata.name"
SETTINGS = Settings.from_environment(
    {
        "BULKHEAD_OPERATOR_LABELS": '{"app.kubernetes.io/name": "bulkhead-operator"}',
        "BULKHEAD_GATEWAYS": f'[{{"namespace_labels": {{"{_IN}": "gateway"}}}}]',
        "BULKHEAD_SCRAPERS": f'[{{"namespace_labels": {{"{_IN}": "monitoring"}}}}]',
        "BULKHEAD_DENIED_CIDRS": '["10.96.0.0/12", "192.0.2.7/32"]',
    }
)


def blueprint(
    spec: dict[str, Any] | None = None,
    *,
    made: bool = True,
    packages: tuple[AgentPackage, ...] = (),
) -> Blueprint:
    """Return a blueprint in which every entry of the spec is allowed."""
    parsed = organization(spec=spec)
    documents = [document(one) for one in packages]
    configuration = RuntimeConfig(
        organization=parsed.metadata.name,
        runtime_id=runtime_id(parsed),
        limits=parsed.spec.limits,
        models=ModelsConfig(default=parsed.spec.models.default),
        pool=PoolConfig(name="default", max_memory_mb=256),
        routes=tuple(
            PackageRoute(
                package=one.package,
                versions=(VersionRoute(version=one.version, checksum=one.checksum, weight=100),),
            )
            for one in documents
        ),
    ).with_hash()
    built = Blueprint(
        organization=parsed,
        namespace=parsed.spec.namespace or default_namespace(parsed.metadata.name),
        namespace_made=made,
        settings=SETTINGS,
        configuration=configuration,
        egress=parsed.spec.network.egress,
    )
    texts = {f"package_{one.package}_{one.version}.json": one.written() for one in documents}
    revisions = tuple(
        RevisionBlueprint(
            package=one.package,
            package_uid=f"uid-{one.package}",
            version=one.version,
            checksum=one.checksum,
            number=1,
            document=one.written(),
        )
        for one in documents
    )
    return replace(built, package_maps=(texts,) if texts else (), revisions=revisions)
