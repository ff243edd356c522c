"""What a spec refers to in the organization's namespace, and what of that is missing.

Read by name, each object once; of a Secret only whether the field holds something is looked at.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import NamedTuple

from bulkhead_api.names import API_KEY_SECRET, INTERNAL_SECRET
from bulkhead_operator.cluster.port import Manifest, ObjectKey
from bulkhead_operator.resources.blueprint import Blueprint
from bulkhead_operator.resources.credentials import Credential, credentials

Read = Callable[[ObjectKey], Awaitable[Manifest | None]]


class Missing(NamedTuple):
    """A sentence about the first thing that is missing and what to do; empty when nothing is."""

    credentials: str = ""
    documents: str = ""


def asked_for(blueprint: Blueprint) -> tuple[tuple[str, ...], ...]:
    """Return what is referred to, to tell whether it is still the same."""
    spec = blueprint.organization.spec
    return (
        *((one.path, one.reference.name, one.reference.key) for one in credentials(spec)),
        *(("documents", name) for name in spec.tools.documents.config_maps),
    )


async def missing(blueprint: Blueprint, read: Read) -> Missing:
    """Return what is not as the spec says."""
    spec = blueprint.organization.spec
    named = tuple(credentials(spec))
    documents = spec.tools.documents.config_maps
    found_secrets, found_documents = await asyncio.gather(
        _all(read, "Secret", blueprint.namespace, {one.reference.name for one in named}),
        _all(read, "ConfigMap", blueprint.namespace, set(documents)),
    )
    problems = (_problem(one, found_secrets, blueprint.namespace) for one in named)
    absent = (
        f"`spec.tools.documents.configMaps[{index}]` names '{name}', a ConfigMap that does not "
        f"exist in namespace '{blueprint.namespace}': create it or remove the entry."
        for index, name in enumerate(documents)
        if found_documents[name] is None
    )
    return Missing(next(filter(None, problems), ""), next(absent, ""))


async def _all(
    read: Read, kind: str, namespace: str, names: set[str]
) -> Mapping[str, Manifest | None]:
    ordered = sorted(names)
    found = await asyncio.gather(
        *(read(ObjectKey("v1", kind, namespace, name)) for name in ordered)
    )
    return dict(zip(ordered, found, strict=True))


def _problem(credential: Credential, found: Mapping[str, Manifest | None], namespace: str) -> str:
    name, key = credential.reference.name, credential.reference.key
    if name in {API_KEY_SECRET, INTERNAL_SECRET}:
        return (
            f"{credential.field} names '{name}', which is the operator's: use a Secret of your own."
        )
    live = found[name]
    if live is None:
        return (
            f"{credential.field} names the Secret '{name}', which does not exist in namespace "
            f"'{namespace}': create it with {credential.holds} in the field '{key}'."
        )
    if not (live.get("data") or {}).get(key):
        return (
            f"{credential.field} names the field '{key}' of Secret '{name}', which is absent or "
            f"empty: put {credential.holds} there."
        )
    return ""
