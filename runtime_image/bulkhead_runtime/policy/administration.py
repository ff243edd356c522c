"""Policies that a client adds, lists and removes through the API; they take effect at once."""

import asyncio
import logging
import time
from collections.abc import Callable
from typing import Final

from bulkhead_runtime.errors import Problem
from bulkhead_runtime.policy import added
from bulkhead_runtime.policy.added import AddedPolicy, PolicyKind
from bulkhead_runtime.policy.engine import CompiledPolicies
from bulkhead_runtime.store.records import PolicyLog, StoredPolicy

_log = logging.getLogger(__name__)

UNREAD: Final = "not-read-yet"
"""Stands for the added policies in decisions before the store was asked."""

Changed = Callable[[PolicyKind, str, str], None]
"""Is told the kind, the name and the principal of every change."""


class PolicyAdministration:
    """Keeps the added policies in the store and the engine in step with it.

    Until they were read once everything is denied: one of them may deny it.
    """

    def __init__(self, store: PolicyLog, engine: CompiledPolicies, changed: Changed) -> None:
        self._store = store
        self._engine = engine
        self._changed = changed
        self._followed: tuple[StoredPolicy, ...] | None = None
        self._loading = asyncio.Lock()
        self._adding = asyncio.Lock()
        engine.follow_added((added.closed("tool", UNREAD), added.closed("model", UNREAD)))

    async def load(self) -> None:
        """Follow what the store holds; at the start, and when another replica changed it."""
        # One at a time: what was read before a change must not be followed after it.
        async with self._loading:
            stored = await self._store.policies()
            if stored != self._followed:
                self._engine.follow_added(_read(policy) for policy in stored)
                self._followed = stored

    async def list(self, kind: PolicyKind) -> tuple[StoredPolicy, ...]:
        """Return the added policies of one kind, ordered by name."""
        return tuple(policy for policy in await self._store.policies() if policy.kind == kind)

    async def put(self, kind: PolicyKind, document: str, principal: str) -> StoredPolicy:
        """Add a policy or replace the one of its name; in force when this returns.

        Raises a 422 `Problem` for what is no policy and a 409 one when there are too many.
        """
        policy = added.parse(kind, document)
        stored = StoredPolicy(kind, policy.name, document, principal, int(time.time() * 1000))
        async with self._adding:
            others = [other for other in await self.list(kind) if other.name != policy.name]
            if len(others) >= added.MAX_ADDED_POLICIES:
                raise Problem(
                    409,
                    "too_many_policies",
                    f"There are {len(others)} added {kind} policies, as many as there may be: "
                    "remove one, or put the rules into one that exists.",
                )
            await self._store.put_policy(stored)
        await self.load()
        self._changed(kind, policy.name, principal)
        return stored

    async def remove(self, kind: PolicyKind, name: str, principal: str) -> None:
        """Remove an added policy; raise a 404 `Problem` where there is none of that name."""
        if not await self._store.delete_policy(kind, name):
            raise Problem(
                404,
                "unknown_policy",
                f"There is no added {kind} policy {name[:63]!r}. Those of the OrganizationRuntime "
                "are changed there.",
            )
        await self.load()
        self._changed(kind, name, principal)


def _read(stored: StoredPolicy) -> AddedPolicy:
    try:
        return added.parse(stored.kind, stored.document)
    except Problem as problem:
        _log.error(
            "Stored policy cannot be read and denies everything: replace or remove it",
            extra={"kind": stored.kind, "policy": stored.name, "reason": problem.message},
        )
        return added.closed(stored.kind, stored.name)
