"""Shuts an organization down: first its pods, so that the drain can finish, then the rest.

What is data stays or goes as spec.deletionPolicy says. Nothing is waited for that was never there,
and nothing is deleted by a label: only what the operator makes, by name, in the one namespace.
"""

import asyncio
from collections.abc import Iterable, Mapping
from typing import Final

from bulkhead_api.names import (
    API_KEY_SECRET,
    API_VERSION,
    CONFIG_MAP,
    DATA_CLAIM,
    DEFAULT_POOL,
    INTERNAL_SECRET,
    LABEL_ORGANIZATION,
    PACKAGE_CONFIG_MAP_PREFIX,
    PACKAGE_CONFIG_MAPS,
    RUNTIME,
)
from bulkhead_api.v1alpha1 import OrganizationRuntime
from bulkhead_operator.cluster.port import Child, ObjectKey
from bulkhead_operator.context import Context
from bulkhead_operator.policies import namespace_claim as policy
from bulkhead_operator.reconcile import observed, secrets
from bulkhead_operator.reconcile.claiming import facts_of
from bulkhead_operator.resources import access, annotations, dedicated, installation, network

OURS: Final = frozenset(
    {
        ("ServiceAccount", RUNTIME),
        ("NetworkPolicy", network.DEFAULT_DENY),
        ("NetworkPolicy", RUNTIME),
        ("ResourceQuota", RUNTIME),
        ("LimitRange", RUNTIME),
        ("ConfigMap", CONFIG_MAP),
        *(
            ("ConfigMap", f"{PACKAGE_CONFIG_MAP_PREFIX}{index}")
            for index in range(PACKAGE_CONFIG_MAPS)
        ),
        ("PersistentVolumeClaim", DATA_CLAIM),
        ("Deployment", RUNTIME),
        ("Service", RUNTIME),
        ("PodDisruptionBudget", RUNTIME),
        ("RoleBinding", access.OPERATOR),
    }
)
"""Kind and name of everything that the operator applies, but for the history of packages."""


async def shut_down(context: Context, organization: OrganizationRuntime) -> str:
    """Do what can be done now; returns what is waited for, empty when nothing is left to do."""
    name = organization.status.namespace or policy.wanted_namespace(organization)
    live = await _live(context, organization.metadata.name, name)
    if live is None or not _is_ours(organization, live):
        return ""
    whole = organization.spec.deletion_policy == "Delete" and policy.made_for(organization, live)
    if live.terminating:
        return f"The namespace '{name}' is being deleted." if whole else ""
    if await _stop_pods(context, organization.metadata.name, name):
        return "The runtime finishes what runs and stops."
    if whole:
        await context.cluster.delete(observed.namespace_key(name), uid=live.uid)
        return f"The namespace '{name}' is being deleted."
    await _delete_children(context, organization, name)
    return ""


async def _live(context: Context, organization: str, name: str) -> policy.NamespaceFacts | None:
    child = context.cluster.children(organization).get(observed.namespace_key(name))
    if child is not None:
        return observed.namespace_facts(child)
    found = await context.cluster.get(observed.namespace_key(name))
    return None if found is None else facts_of(found)


def _is_ours(organization: OrganizationRuntime, live: policy.NamespaceFacts) -> bool:
    recorded = organization.status.namespace_uid
    return live.uid == recorded or policy.made_for(organization, live)


async def _stop_pods(context: Context, organization: str, namespace: str) -> bool:
    """Delete the runtime, then the images that it asks; tells whether one is still there.

    A namespace whose pods take more than some seconds to end is looked at again only after minutes.
    """
    children = context.cluster.children(organization)
    runtime = observed.deployment_key(namespace)
    images = [
        key
        for key in children
        if (key.kind, key.namespace) == ("Deployment", namespace) and dedicated.is_ours(key)
    ]
    due = [runtime] if runtime in children else images
    for key in due:
        if not children[key].terminating:
            # In the foreground it stays until its last pod is gone.
            await context.cluster.delete(key, uid=children[key].uid, foreground=True)
    return bool(due)


async def _delete_children(
    context: Context, organization: OrganizationRuntime, namespace: str
) -> None:
    name = organization.metadata.name
    retain = organization.spec.deletion_policy == "Retain"
    children = context.cluster.children(name)
    due = [key for key in _ours(children, namespace) if not (retain and _is_data(key))]
    last = [key for key in due if key.kind == "RoleBinding"]
    await _delete(context, children, (key for key in due if key not in last))
    await _delete_secret(context, name, secrets.key_of(namespace, INTERNAL_SECRET))
    if not retain:
        await _delete_secret(context, name, secrets.key_of(namespace, API_KEY_SECRET))
        await _delete_pool(context, name, namespace)
    # Without it the Secrets could not be deleted.
    await _delete(context, children, last)


def _is_data(key: ObjectKey) -> bool:
    return key.kind == "PersistentVolumeClaim"


def _ours(children: Mapping[ObjectKey, Child], namespace: str) -> list[ObjectKey]:
    return [
        key
        for key, child in children.items()
        if key.namespace == namespace
        and ((key.kind, key.name) in OURS or _is_of_package(key) or _is_history(key, child))
        and not child.terminating
    ]


def _is_of_package(key: ObjectKey) -> bool:
    return dedicated.is_ours(key) or installation.is_ours(key)


def _is_history(key: ObjectKey, child: Child) -> bool:
    marked = annotations.PACKAGE in child.facts.get("annotations", {})
    return key.kind == "ControllerRevision" and marked


async def _delete(
    context: Context, children: Mapping[ObjectKey, Child], keys: Iterable[ObjectKey]
) -> None:
    await asyncio.gather(
        *(
            # The API server leaves a Job's pods behind unless told otherwise.
            context.cluster.delete(key, uid=children[key].uid, foreground=key.kind == "Job")
            for key in keys
        )
    )


async def _delete_secret(context: Context, organization: str, key: ObjectKey) -> None:
    live = await context.cluster.get(key)
    if live is not None and secrets.is_ours(live, organization):
        await context.cluster.delete(key, uid=live["metadata"]["uid"])


async def _delete_pool(context: Context, organization: str, namespace: str) -> None:
    for body in context.inventory.pools(namespace):
        metadata = body["metadata"]
        made_by_us = (metadata.get("labels") or {}).get(LABEL_ORGANIZATION) == organization
        if metadata["name"] == DEFAULT_POOL and made_by_us:
            key = ObjectKey(API_VERSION, "MemoryPool", namespace, DEFAULT_POOL)
            await context.cluster.delete(key, uid=metadata["uid"])
