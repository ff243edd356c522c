"""Gathers what the configuration is made of, and folds it into one organization's blueprint."""

from collections.abc import Sequence
from dataclasses import replace
from time import time
from typing import Final

from bulkhead_api.names import API_KEY_SECRET, DEFAULT_POOL, INTERNAL_SECRET, package_key
from bulkhead_api.runtime_config import (
    ModelsConfig,
    PoolConfig,
    ProviderConfig,
    RuntimeConfig,
)
from bulkhead_api.v1alpha1 import OrganizationRuntime
from bulkhead_api.v1alpha1.organization_runtime import EgressRule, Models, Provider
from bulkhead_operator.cluster.port import digest
from bulkhead_operator.context import Context
from bulkhead_operator.packages import needs
from bulkhead_operator.packages.reports import Reports
from bulkhead_operator.packages.resolution import judge
from bulkhead_operator.policies.package import Offered
from bulkhead_operator.reconcile import (
    awaiting,
    candidates,
    dependencies,
    images,
    installing,
    observed,
)
from bulkhead_operator.reconcile.candidate import Candidate
from bulkhead_operator.reconcile.claiming import Claimed
from bulkhead_operator.reconcile.memory import Memory
from bulkhead_operator.reconcile.selection import Selection, Surroundings, retried, select
from bulkhead_operator.resources import pod
from bulkhead_operator.resources.blueprint import Blueprint, runtime_id
from bulkhead_operator.resources.storage import default_pool_size
from bulkhead_operator.status.organization import Workload

_UNKNOWN: Final = "No runtime has reported its libraries and versions yet."


async def blueprint(
    context: Context,
    organization: OrganizationRuntime,
    claimed: Claimed,
    egress: tuple[EgressRule, ...],
    memory: Memory,
    *,
    workload: Workload,
) -> Blueprint:
    """Return what is wanted now, with the Deployment as last seen.

    What was decided about the packages is left in `memory.decided`, and must be written to their
    status before anything of the blueprint is applied.
    """
    name = organization.metadata.name
    found = await candidates.gather(context, name, claimed.name, memory)
    pods = await images.observe(context, name, claimed.name, found)
    installs = installing.observe(context.cluster.children(name), claimed.name, found)
    pods = installing.together(pods, installs.pods)
    _forget_retried_refusals(found, memory)
    around = replace(
        _surroundings(organization, found, memory),
        pods=pods,
        idle=organization.spec.suspend or workload.available == 0,
        alone=workload.wanted == 1 and workload.current,
    )
    selection = select(found, around)
    memory.decided = dict(selection.decided)
    built = Blueprint(
        organization=organization,
        namespace=claimed.name,
        namespace_made=claimed.made,
        settings=context.settings,
        egress=egress,
        configuration=_configuration(context, organization, claimed.name, selection),
        package_maps=selection.maps,
        revisions=selection.revisions,
        history_limits={
            one.package.metadata.uid: one.package.spec.revision_history_limit
            for one in found
            if one.asked is not None
        },
        pull_secrets=_pull_secrets(found),
        images=selection.images,
        installations=installs.wanted,
    )
    return replace(built, upgrade=_upgrade(context, built))


def _pull_secrets(found: Sequence[Candidate]) -> tuple[str, ...]:
    """Return the Secrets for registries; the operator's own never look like one."""
    named = {
        document.oci.pull_secret_name
        for one in found
        for document in (*one.documents.values(), *one.retained)
        if document.oci is not None and document.oci.pull_secret_name is not None
    }
    return tuple(sorted(named - {API_KEY_SECRET, INTERNAL_SECRET}))


def _surroundings(
    organization: OrganizationRuntime, found: Sequence[Candidate], memory: Memory
) -> Surroundings:
    following = memory.following
    reports = Reports({uid: one.state for uid, one in following.replicas.items()})
    members, kinds = dependencies.members(found)
    known = following.image
    offered = needs.offers(
        organization.spec.integrations,
        known.libraries if known else {},
        known.python if known else "",
        known.runtime if known else "",
    )
    following.wants_image = known is None and bool(kinds & needs.REPORTED)
    judgements = judge(members, offered) if members else {}
    return Surroundings(
        offered=Offered.by(organization.spec),
        refused=following.refused,
        reports=reports,
        judgements=judgements,
        partners=awaiting.partners(found, judgements, reports),
        unknown=_UNKNOWN if following.wants_image else "",
        crashing_since=following.crashing_since,
        now=int(time()),
    )


def _forget_retried_refusals(found: Sequence[Candidate], memory: Memory) -> None:
    """Let the runtime see again what it refused, when a person asks to try it again."""
    for one in found:
        if one.asked is not None and retried(one):
            refused = package_key(one.name, one.asked.target.version)
            memory.following.refused.pop(refused, None)


def _upgrade(context: Context, built: Blueprint) -> str:
    """Return the live mark of an upgrade as long as it is about the template that is wanted."""
    child = context.cluster.children(built.name).get(observed.deployment_key(built.namespace))
    live = observed.live_template(child)
    if live is None or not live.upgrade:
        return ""
    return live.upgrade if live.upgrade == digest(pod.template(built)) else ""


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
        records=spec.records,
        safety=spec.safety,
        page=spec.page,
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
