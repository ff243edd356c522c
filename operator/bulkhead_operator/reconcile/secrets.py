"""The organization's Secrets: generated once, rotated when asked, looked at now and then.

Secrets are read by name and never watched, and no value leaves this module but the token with
which the operator itself asks the runtime.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from secrets import token_urlsafe
from time import monotonic
from typing import Final, TypeVar

from bulkhead_api.names import (
    ANNOTATION_ROTATE_API_KEY,
    API_KEY_SECRET,
    LABEL_ORGANIZATION,
    TOKEN_FIELD,
)
from bulkhead_api.v1alpha1 import OrganizationRuntime
from bulkhead_operator.cluster.port import Manifest, ObjectKey
from bulkhead_operator.context import Context
from bulkhead_operator.errors import ClusterError, Forbidden, UserError
from bulkhead_operator.reconcile import references
from bulkhead_operator.reconcile.memory import Memory, SecretsSeen
from bulkhead_operator.resources import annotations, labels
from bulkhead_operator.resources import secret as builder
from bulkhead_operator.resources.blueprint import Blueprint
from bulkhead_operator.status import reasons

KEY_PREFIX: Final = "bh_"
"""So that a scanner can tell a leaked key."""

_TOKEN_BYTES: Final = 32
_ROLE_DELAYS: Final = (0.05, 0.1, 0.2, 0.4, 0.8, 1.6, 1.6)
"""How long a new RoleBinding may take until the API server's authorizer knows it."""

_CHARACTERS_OF_A_REQUEST: Final = 256

Answer = TypeVar("Answer")


@dataclass(frozen=True, slots=True)
class SecretsDone:
    """What was done."""

    handled_rotation: str | None = None
    rotated: bool = False


def key_of(namespace: str, name: str) -> ObjectKey:
    """Return the key of a Secret."""
    return ObjectKey("v1", "Secret", namespace, name)


def asked_rotation(organization: OrganizationRuntime) -> str | None:
    """Return the rotation that a person asks for, cut to what status can hold."""
    asked = organization.metadata.annotations.get(ANNOTATION_ROTATE_API_KEY, "")
    return asked[:_CHARACTERS_OF_A_REQUEST] or None


async def ensure(
    context: Context, blueprint: Blueprint, memory: Memory, *, fresh: bool
) -> SecretsDone:
    """See that every Secret is there; makes no call while all of it was seen not long ago."""
    asked = asked_rotation(blueprint.organization)
    handled = blueprint.organization.status.handled_api_key_rotation
    if _seen_lately(context, blueprint, memory) and asked in {None, handled}:
        return SecretsDone()
    (done, internal), missing = await asyncio.gather(
        _both(context, blueprint, asked, fresh=fresh),
        references.missing(blueprint, partial(read, context)),
    )
    memory.secrets = SecretsSeen(monotonic(), internal, missing, references.asked_for(blueprint))
    return done


def _seen_lately(context: Context, blueprint: Blueprint, memory: Memory) -> bool:
    seen = memory.secrets
    if seen is None or seen.asked_for != references.asked_for(blueprint):
        return False
    settings = context.settings
    # Somebody is probably about to bring what is missing.
    patience = settings.usage_seconds if any(seen.missing) else settings.resync_seconds
    return monotonic() - seen.at < patience


async def _both(
    context: Context, blueprint: Blueprint, asked: str | None, *, fresh: bool
) -> tuple[SecretsDone, str]:
    key = builder.api_key(blueprint, KEY_PREFIX + token_urlsafe(_TOKEN_BYTES), asked)
    internal = builder.internal(blueprint, token_urlsafe(_TOKEN_BYTES))
    live_key, live_internal = await asyncio.gather(
        _there(context, key, fresh=fresh), _there(context, internal, fresh=fresh)
    )
    rotated = await _rotate(context, blueprint.namespace, live_key, asked)
    done = SecretsDone(handled_rotation=asked, rotated=rotated)
    return done, builder.field_of(live_internal, TOKEN_FIELD)


async def _there(context: Context, wanted: Manifest, *, fresh: bool) -> Manifest:
    """Return the live Secret, made when there is none; never overwritten."""
    key = ObjectKey.of(wanted)
    live = None if fresh else await read(context, key)
    if live is None:
        live = await _with_new_role(lambda: context.cluster.create(wanted))
    if live is None:
        live = await context.cluster.get(key)
    if live is None:
        raise ClusterError("SecretVanished", f"Secret '{key.name}' went while it was made.")
    if not is_ours(live, wanted["metadata"]["labels"][LABEL_ORGANIZATION]):
        raise UserError(
            reasons.OBJECT_NOT_OURS,
            f"Secret '{key.namespace}/{key.name}' was made by somebody else: delete or rename it.",
        )
    return live


async def _rotate(context: Context, namespace: str, live: Manifest, asked: str | None) -> bool:
    marks = live["metadata"].get("annotations") or {}
    # The mark is written with the key, so a crash after it cannot make a second key.
    if asked is None or marks.get(annotations.HANDLED_ROTATION) == asked:
        return False
    patch = builder.rotated(KEY_PREFIX + token_urlsafe(_TOKEN_BYTES), asked)
    await context.cluster.patch(key_of(namespace, API_KEY_SECRET), patch)
    return True


async def read(context: Context, key: ObjectKey) -> Manifest | None:
    """Return a Secret or ConfigMap, or None; waits for a new role to be known."""
    return await _with_new_role(lambda: context.cluster.get(key))


def is_ours(live: Manifest, organization: str) -> bool:
    """Tell whether the operator made a Secret for this organization."""
    found = live["metadata"].get("labels") or {}
    return bool(labels.standard(organization).items() <= found.items())


async def _with_new_role(call: Callable[[], Awaitable[Answer]]) -> Answer:
    for delay in _ROLE_DELAYS:
        try:
            return await call()
        except Forbidden:
            await asyncio.sleep(delay)
    return await call()
