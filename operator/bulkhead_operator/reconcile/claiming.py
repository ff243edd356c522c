"""Gets the organization its namespace: the recorded one, an adopted one, or a new one."""

from dataclasses import dataclass

from bulkhead_api.v1alpha1 import OrganizationRuntime
from bulkhead_operator.cluster.port import Manifest
from bulkhead_operator.context import Context
from bulkhead_operator.errors import NotReadyYet
from bulkhead_operator.policies import namespace_claim as policy
from bulkhead_operator.policies.rules import first_violation
from bulkhead_operator.reconcile import observed
from bulkhead_operator.resources import namespace as builder
from bulkhead_operator.status import reasons

LOOK_AGAIN_SECONDS = 5.0
"""A namespace without our label rings no bell when it goes."""


@dataclass(frozen=True, slots=True)
class Claimed:
    """The namespace that the organization has."""

    name: str
    uid: str
    made: bool
    """Whether the operator made it, now or before."""
    fresh: bool = False
    """Whether it was made by this reconcile, and so holds nothing."""


async def claim(context: Context, organization: OrganizationRuntime, created: str) -> Claimed:
    """Return the organization's namespace, made if need be.

    Raises `UserError` when it may not have it, `NotReadyYet` while a former one disappears.
    """
    name = policy.wanted_namespace(organization)
    live = await _live(context, organization, name)
    _judge(context, organization, created, live)
    if live is None:
        manifest = builder.build(organization, name, made=True)
        made = await context.cluster.create(manifest)
        if made is not None:
            return Claimed(name, made["metadata"]["uid"], made=True, fresh=True)
        live = await _read(context, name)
        _judge(context, organization, created, live)
    if live is None or live.terminating:
        message = f"The namespace '{name}' is being deleted; it is made again once it is gone."
        raise NotReadyYet(reasons.NAMESPACE_TERMINATING, message, LOOK_AGAIN_SECONDS)
    return Claimed(name, live.uid, made=policy.made_for(organization, live))


async def _live(
    context: Context, organization: OrganizationRuntime, name: str
) -> policy.NamespaceFacts | None:
    children = context.cluster.children(organization.metadata.name)
    child = children.get(observed.namespace_key(name))
    if child is not None:
        return observed.namespace_facts(child)
    if organization.spec.namespace is None and organization.status.namespace_uid is None:
        return None  # most likely new: making it tells whether it is there
    return await _read(context, name)


async def _read(context: Context, name: str) -> policy.NamespaceFacts | None:
    found = await context.cluster.get(observed.namespace_key(name))
    return None if found is None else facts_of(found)


def facts_of(live: Manifest) -> policy.NamespaceFacts:
    """Return what a claim is judged by, from the namespace itself."""
    metadata = live["metadata"]
    return policy.NamespaceFacts(
        uid=metadata["uid"],
        annotations=metadata.get("annotations") or {},
        terminating="deletionTimestamp" in metadata,
    )


def _judge(
    context: Context,
    organization: OrganizationRuntime,
    created: str,
    live: policy.NamespaceFacts | None,
) -> None:
    name = policy.wanted_namespace(organization)
    rivals = tuple(
        policy.Rival(body["metadata"]["name"], body["metadata"]["creationTimestamp"])
        for body in context.inventory.wanting(name)
        if body["metadata"]["name"] != organization.metadata.name
    )
    violation = first_violation(
        policy.RULES,
        policy.Claim(
            organization=organization,
            created=created,
            live=live,
            rivals=rivals,
            operator_namespace=context.settings.namespace,
        ),
    )
    if violation is not None:
        raise violation
