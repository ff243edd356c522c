"""Gathers what the configuration is made of, and folds it into one organization's blueprint."""

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import replace

from bulkhead_api.names import DEFAULT_POOL, PACKAGE_CONFIG_MAP_PREFIX, package_key
from bulkhead_api.runtime_config import (
    ModelsConfig,
    PackageDocument,
    PoolConfig,
    ProviderConfig,
    RuntimeConfig,
)
from bulkhead_api.runtime_state import RuntimeState
from bulkhead_api.v1alpha1 import AgentPackage, OrganizationRuntime
from bulkhead_api.v1alpha1.organization_runtime import EgressRule, Models, Provider
from bulkhead_operator.cluster.port import Child, Manifest, ObjectKey, digest
from bulkhead_operator.context import Context
from bulkhead_operator.policies.package import Offered
from bulkhead_operator.reconcile import history, observed
from bulkhead_operator.reconcile.claiming import Claimed
from bulkhead_operator.reconcile.history import Recorded
from bulkhead_operator.reconcile.memory import Memory
from bulkhead_operator.reconcile.parse import parsed
from bulkhead_operator.reconcile.selection import Candidate, Selection, select
from bulkhead_operator.resources import pod
from bulkhead_operator.resources.blueprint import Blueprint, runtime_id
from bulkhead_operator.resources.storage import default_pool_size


async def blueprint(
    context: Context,
    organization: OrganizationRuntime,
    claimed: Claimed,
    egress: tuple[EgressRule, ...],
    memory: Memory,
) -> Blueprint:
    """Return what is wanted now; former versions of packages are read where need be."""
    name = organization.metadata.name
    candidates = await _candidates(context, name, claimed.name, memory)
    offered = Offered.by(organization.spec)
    refused = memory.following.refused
    selection = select(candidates, offered, refused)
    if any(selection.verdicts.values()):
        candidates = [
            await _with_fallback(context, memory, one) if selection.verdicts[one.name] else one
            for one in candidates
        ]
        selection = select(candidates, offered, refused)
    memory.verdicts = {
        one.name: (one.package.metadata.generation, selection.verdicts[one.name])
        for one in candidates
    }
    built = Blueprint(
        organization=organization,
        namespace=claimed.name,
        namespace_made=claimed.made,
        settings=context.settings,
        egress=egress,
        configuration=_configuration(context, organization, claimed.name, selection),
        package_maps=selection.maps,
        revisions=selection.revisions,
    )
    return replace(built, upgrade=_upgrade(context, built))


def _upgrade(context: Context, built: Blueprint) -> str:
    """Return the live mark of an upgrade as long as it is about the template that is wanted."""
    child = context.cluster.children(built.name).get(observed.deployment_key(built.namespace))
    live = observed.live_template(child)
    if live is None or not live.upgrade:
        return ""
    return live.upgrade if live.upgrade == digest(pod.template(built)) else ""


async def _candidates(
    context: Context, name: str, namespace: str, memory: Memory
) -> list[Candidate]:
    children = context.cluster.children(name)
    past = history.recorded(children, namespace)
    loaded = _loaded_files(children, namespace, memory)
    candidates = []
    in_use: set[str] = set()
    for body in context.inventory.packages(namespace):
        if "deletionTimestamp" in body["metadata"]:
            continue
        versions = past.get(body["metadata"]["uid"], [])
        candidate = await _candidate(context, memory, body, versions, loaded)
        candidates.append(candidate)
        in_use.update(one.key.name for one in versions)
    memory.documents = {key: one for key, one in memory.documents.items() if key in in_use}
    return candidates


async def _candidate(
    context: Context,
    memory: Memory,
    body: Manifest,
    versions: Sequence[Recorded],
    loaded: AbstractSet[str],
) -> Candidate:
    package, invalid = parsed(AgentPackage, body)
    wanted = None
    if invalid is None:
        spec = package.spec
        wanted = PackageDocument.of(package.metadata.name, spec.version, spec.agents, spec.tools)
    former = [one for one in versions if wanted is None or one.checksum != wanted.checksum]
    still_loaded = [one for one in former if _file(one) in loaded and not _drained(memory, one)][
        : history.KEPT - 1
    ]
    contents = [
        await history.document(context.cluster, memory.documents, one) for one in still_loaded
    ]
    return Candidate(
        package=package,
        created=body["metadata"]["creationTimestamp"],
        wanted=wanted,
        invalid=invalid,
        history=versions,
        retained=tuple(one for one in contents if one is not None),
    )


async def _with_fallback(context: Context, memory: Memory, candidate: Candidate) -> Candidate:
    """Return the candidate with the newest version of its past that can be served."""
    refused = memory.following.refused
    for one in candidate.history:
        if refused.get(_file(one), ("", ""))[0] == one.checksum:
            continue
        content = await history.document(context.cluster, memory.documents, one)
        if content is not None:
            return replace(candidate, fallback=content)
    return candidate


def _loaded_files(
    children: Mapping[ObjectKey, Child], namespace: str, memory: Memory
) -> AbstractSet[str]:
    files: set[str] = set()
    for key, child in children.items():
        if key.namespace == namespace and key.name.startswith(PACKAGE_CONFIG_MAP_PREFIX):
            files.update(child.facts.get("keys", ()))
    if memory.blueprint is not None:
        for documents in memory.blueprint.package_maps:
            files.update(documents)
    return files


def _file(one: Recorded) -> str:
    return package_key(one.package, one.version)


def _drained(memory: Memory, one: Recorded) -> bool:
    """Tell whether every replica reported, while it got no new sessions, that none is left."""
    before = memory.blueprint
    if before is None or memory.following.followed != before.configuration.hash:
        return False
    weights = {
        (route.package, version.version): version.weight
        for route in before.configuration.routes
        for version in route.versions
    }
    if weights.get((one.package, one.version)) != 0:
        return False
    states = [replica.state for replica in memory.following.replicas.values()]
    return bool(states) and all(
        state is not None and _sessions(state, one) == 0 for state in states
    )


def _sessions(state: RuntimeState, one: Recorded) -> int:
    return sum(
        loaded.sessions
        for loaded in state.versions
        if (loaded.package, loaded.version) == (one.package, one.version)
    )


def _configuration(
    context: Context, organization: OrganizationRuntime, namespace: str, selection: Selection
) -> RuntimeConfig:
    spec = organization.spec
    return RuntimeConfig(
        organization=organization.metadata.name,
        runtime_id=runtime_id(organization),
        limits=spec.limits,
        models=_models(spec.models),
        pool=_pool(context, organization, namespace),
        routes=selection.routes,
        replicas=spec.replicas,
        budgets=spec.budgets,
        tools=spec.tools,
        sessions=spec.sessions,
        authentication=spec.authentication,
        telemetry=spec.telemetry,
        safety=spec.safety,
    ).with_hash()


def _models(models: Models) -> ModelsConfig:
    return ModelsConfig(
        default=models.default,
        providers=tuple(_provider(provider) for provider in models.providers),
        allowed=models.allowed,
        fallbacks=models.fallbacks,
        prices=models.prices,
        policy=models.policy,
    )


def _provider(provider: Provider) -> ProviderConfig:
    return ProviderConfig(
        name=provider.name,
        type=provider.type,
        base_url=provider.base_url,
        has_credentials=provider.credentials_ref is not None,
        timeout_seconds=provider.timeout_seconds,
        max_retries=provider.max_retries,
        circuit_breaker=provider.circuit_breaker,
    )


def _pool(context: Context, organization: OrganizationRuntime, namespace: str) -> PoolConfig:
    storage = organization.spec.storage
    bodies = {body["metadata"]["name"]: body for body in context.inventory.pools(namespace)}
    spec = (bodies.get(DEFAULT_POOL) or {}).get("spec") or {}
    size = spec.get("maxMemoryMB", default_pool_size(storage))
    return PoolConfig(
        name=DEFAULT_POOL,
        # A pool larger than the volume is reported on the pool; the volume bounds it all the same.
        max_memory_mb=size if storage.postgres is not None else min(size, storage.size_mb),
        default_retention_seconds=spec.get("defaultRetentionSeconds"),
    )
