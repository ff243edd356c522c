"""Reports a MemoryPool: its bounds against the volume, its usage as the runtimes said."""

from dataclasses import replace

from bulkhead_api.v1alpha1 import MemoryPool
from bulkhead_operator.context import Context
from bulkhead_operator.errors import NotReadyYet, UserError
from bulkhead_operator.reconcile import members
from bulkhead_operator.reconcile.keys import DONE, Key, Outcome
from bulkhead_operator.reconcile.memory import Memories
from bulkhead_operator.reconcile.parse import parsed
from bulkhead_operator.reconcile.report import report
from bulkhead_operator.status import conditions, reasons
from bulkhead_operator.status.pool import PoolFound, status

UNSEEN = -1
"""The observedGeneration of an object that no status was written for."""

DEFAULT_STORAGE_MB = 1024


class PoolReconciler:
    """Never writes anything but the pool's status."""

    def __init__(self, context: Context, memories: Memories) -> None:
        self._context = context
        self._memories = memories

    async def __call__(self, key: Key) -> Outcome:
        """Bring the status up to date."""
        body = self._context.inventory.get(key)
        if body is None or "deletionTimestamp" in body["metadata"]:
            self._context.metrics.objects.forget(key)
            return DONE
        pool, invalid = parsed(MemoryPool, body)
        found = PoolFound(violation=invalid) if invalid is not None else self._found(key, pool)
        if not members.is_reconciled(self._memories, found.organization):
            return DONE
        silent = found.violation is None and found.usage is None
        if silent and pool.status.observed_generation == UNSEEN:
            # It reads as in progress already; a write would say nothing new.
            return DONE
        await report(self._context, key, body, status(pool, found, conditions.now()))
        return DONE

    def _found(self, key: Key, pool: MemoryPool) -> PoolFound:
        try:
            organization = members.organization_of(self._context, key.namespace or "")
        except UserError as error:
            return PoolFound(violation=error)
        except NotReadyYet as error:
            return PoolFound(waiting=error)
        found = members.pool_found(self._memories, organization)
        return replace(found, violation=self._too_large(organization, pool))

    def _too_large(self, organization: str, pool: MemoryPool) -> UserError | None:
        body = self._context.inventory.organization(organization) or {}
        storage = (body.get("spec") or {}).get("storage") or {}
        size = storage.get("sizeMB", DEFAULT_STORAGE_MB)
        if pool.spec.max_memory_mb <= size or "postgres" in storage:
            return None
        return UserError(
            reasons.POOL_TOO_LARGE,
            f"`spec.maxMemoryMB` is {pool.spec.max_memory_mb}, more than the organization's "
            f"volume of {size}: lower it or raise `spec.storage.sizeMB` of the "
            "OrganizationRuntime.",
        )
