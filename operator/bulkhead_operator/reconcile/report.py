"""Writes status, once per reconcile and only when it changed, and tells people what changed."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from bulkhead_operator.cluster.port import Manifest
from bulkhead_operator.context import Context
from bulkhead_operator.reconcile.keys import Key
from bulkhead_operator.status import conditions as words


async def report(context: Context, key: Key, body: Manifest, status: Manifest) -> None:
    """Write the status of an object if it differs from the recorded one.

    Events follow the conditions: one when the object became ready, one when a person must act.
    """
    before = body.get("status") or {}
    context.metrics.objects.reported(key, _owner(context, key), status)
    if status == before:
        return
    uid = body["metadata"]["uid"]
    written = await context.cluster.patch_status(key.object_key(), uid, status)
    context.inventory.remember(written)
    for kind, reason, note in news(before.get("conditions") or (), status["conditions"]):
        context.cluster.event(key.object_key(), uid, kind, reason, note)


def _owner(context: Context, key: Key) -> str | None:
    if key.namespace is None:
        return key.name
    return context.inventory.organization_of(key.namespace)


def news(
    before: Sequence[Mapping[str, Any]], after: Sequence[Mapping[str, Any]]
) -> list[tuple[Any, str, str]]:
    """Return what people are told about a change of conditions: type, reason, note."""
    former = {one["type"]: one for one in before}
    current = {one["type"]: one for one in after}
    told: list[tuple[Any, str, str]] = []
    ready, was_ready = current.get(words.READY, {}), former.get(words.READY, {})
    if ready.get("status") == "True" and was_ready.get("status") != "True":
        told.append(("Normal", "BecameReady", ready["message"]))
    if ready.get("reason") == "Suspended" and was_ready.get("reason") != "Suspended":
        told.append(("Normal", "Suspended", ready["message"]))
    stalled, was_stalled = current.get(words.STALLED), former.get(words.STALLED, {})
    if stalled is not None and _content(stalled) != _content(was_stalled):
        told.append(("Warning", stalled["reason"], stalled["message"]))
    return told


def _content(condition: Mapping[str, Any]) -> tuple[Any, Any]:
    return condition.get("reason"), condition.get("message")


def ring_changed(
    ring: Callable[[Key], None], told: dict[Key, object], current: Mapping[Key, object]
) -> None:
    """Ring every key whose news differ from what it was rung with last."""
    for key, content in current.items():
        if key not in told or told[key] != content:
            ring(key)
    told.clear()
    told.update(current)
