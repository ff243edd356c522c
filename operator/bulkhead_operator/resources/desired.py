"""Everything that is wanted for one organization, in one mapping."""

from collections.abc import Iterator

from bulkhead_operator.cluster.port import Manifest, ObjectKey
from bulkhead_operator.resources import (
    access,
    configuration,
    dedicated,
    deployment,
    installation,
    namespace,
    network,
    quota,
    revision,
    service,
    storage,
)
from bulkhead_operator.resources.blueprint import Blueprint


def desired(blueprint: Blueprint) -> dict[ObjectKey, Manifest]:
    """Return every child that is applied; Secrets and the pool are made once and not applied."""
    return {ObjectKey.of(manifest): manifest for manifest in _manifests(blueprint)}


def _manifests(blueprint: Blueprint) -> Iterator[Manifest]:
    yield namespace.build(
        blueprint.organization, blueprint.namespace, made=blueprint.namespace_made
    )
    yield access.role_binding(blueprint)
    yield access.service_account(blueprint)
    yield network.default_deny(blueprint)
    yield network.runtime(blueprint)
    yield quota.resource_quota(blueprint)
    yield quota.limit_range(blueprint)
    yield configuration.config_map(blueprint)
    for index in range(len(blueprint.package_maps)):
        yield configuration.package_map(blueprint, index)
    for version in blueprint.revisions:
        yield revision.build(blueprint, version)
    if not blueprint.shares_stores:
        yield storage.claim(blueprint)
    yield service.service(blueprint)
    yield service.disruption_budget(blueprint)
    yield deployment.build(blueprint)
    yield from dedicated.build(blueprint)
    yield from installation.build(blueprint)
