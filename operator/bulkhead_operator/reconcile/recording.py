"""Writes what was decided about rollouts to status, before anything follows from it.

Whatever happens afterwards, the next reconcile goes on from what is written here, in this process
or in another.
"""

import asyncio
from typing import Final

from bulkhead_api.v1alpha1.package_rollout import RolloutStatus
from bulkhead_operator.cluster.port import Manifest
from bulkhead_operator.context import Context
from bulkhead_operator.errors import Gone
from bulkhead_operator.packages.news import news
from bulkhead_operator.packages.record import Record, read, written
from bulkhead_operator.packages.rollout import UNDER_WAY, Phase
from bulkhead_operator.reconcile.candidate import Decided
from bulkhead_operator.reconcile.following import Interest
from bulkhead_operator.reconcile.keys import Key
from bulkhead_operator.reconcile.memory import Memories, Memory
from bulkhead_operator.reconcile.package import report_package

WATCHED_SECONDS: Final = 1.0
MEASURED_SECONDS: Final = 5.0
_OUTCOMES: Final = {Phase.COMPLETE: "completed", Phase.RESTORED: "rolled_back"}


async def record(context: Context, memories: Memories, organization: str, namespace: str) -> None:
    """Write every rollout that was taken a step further, and tell people."""

    async def one_more(key: Key, before: Record | None, one: Decided) -> None:
        try:
            await report_package(context, memories, organization, key)
        except Gone:
            return  # it is being deleted, and its rollout with it
        _tell(context, key, before, one)

    decided = memories.of(organization).decided
    changed = []
    for body in context.inventory.packages(namespace):
        one = decided.get(body["metadata"]["name"])
        if one is not None and one.record is not None and one.uid == body["metadata"]["uid"]:
            phase = one.record.progress.phase.value
            context.metrics.objects.shifted(Key.of(body), organization, phase)
            before = _recorded(body)
            if before is None or written(one.record) != written(before):
                changed.append(one_more(Key.of(body), before, one))
    await asyncio.gather(*changed)


def _recorded(body: Manifest) -> Record | None:
    status = (body.get("status") or {}).get("rollout")
    return read(RolloutStatus.model_validate(status)) if status else None


def _tell(context: Context, key: Key, before: Record | None, decided: Decided) -> None:
    assert decided.record is not None
    told = news(before, decided.record)
    if told is not None:
        context.cluster.event(key.object_key(), decided.uid, told.type, told.reason, told.note)
    phase = decided.record.progress.phase
    if phase in _OUTCOMES and (before is None or before.progress.phase is not phase):
        context.metrics.rollouts_ended.labels(_OUTCOMES[phase]).inc()


def interest(memory: Memory) -> Interest:
    """Return what the rollouts of an organization want to know of its runtimes."""
    measured = any(one.measured for one in memory.decided.values())
    if any(one.begins for one in memory.decided.values()):
        # Of a version that is loaded already the configuration tells replicas nothing new.
        return Interest(oldest=0.0, measured=measured)
    watched = [one for one in memory.decided.values() if one.watched]
    if not watched:
        return Interest(measured=measured)
    judged = all(_is_judged(one.record) for one in watched)
    return Interest(oldest=MEASURED_SECONDS if judged else WATCHED_SECONDS, measured=measured)


def _is_judged(record: Record | None) -> bool:
    return record is not None and record.progress.phase is Phase.SHIFT


def is_under_way(memory: Memory) -> bool:
    """Tell whether any rollout may go on by what runtimes answer."""
    records = [one.record for one in memory.decided.values() if one.record is not None]
    return any(one.progress.phase in {*UNDER_WAY, Phase.RESTORE} for one in records)


def wake_at(memory: Memory) -> int | None:
    """Return the moment, Unix seconds, at which a rollout goes on without anything happening."""
    moments = [one.wake_at for one in memory.decided.values() if one.wake_at is not None]
    return min(moments, default=None)
