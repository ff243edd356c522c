"""The reconcile of an OrganizationRuntime: claim, gather, build, apply, follow, report.

It looks at what is and never at what happened, so it may run at any time, any number of times.
"""

import asyncio
from time import time
from typing import Final

from bulkhead_api.names import DEFAULT_POOL, FINALIZER
from bulkhead_api.v1alpha1 import OrganizationRuntime
from bulkhead_api.v1alpha1.organization_runtime import EgressRule
from bulkhead_operator.cluster.port import Manifest, ObjectKey
from bulkhead_operator.context import Context
from bulkhead_operator.errors import Forbidden, Gone, NotReadyYet, UserError
from bulkhead_operator.policies import egress
from bulkhead_operator.policies.rules import first_violation
from bulkhead_operator.reconcile import (
    applying,
    deletion,
    following,
    gathering,
    members,
    observed,
    recording,
    secrets,
)
from bulkhead_operator.reconcile.claiming import Claimed, claim
from bulkhead_operator.reconcile.following import Followed
from bulkhead_operator.reconcile.inventory import wanted_namespace
from bulkhead_operator.reconcile.keeping import Keeping
from bulkhead_operator.reconcile.keys import DONE, Key, Outcome
from bulkhead_operator.reconcile.memory import Memories, Memory
from bulkhead_operator.reconcile.parse import parsed
from bulkhead_operator.reconcile.report import report, ring_changed
from bulkhead_operator.reconcile.restarting import Restarts
from bulkhead_operator.resources import storage
from bulkhead_operator.resources.blueprint import Blueprint, runtime_id
from bulkhead_operator.resources.credentials import credentials
from bulkhead_operator.resources.desired import desired
from bulkhead_operator.status import conditions, reasons
from bulkhead_operator.status.organization import Found, Workload, status

EARLY_SECONDS: Final = 0.01
"""Timers may fire a little early, and a rollout counts in whole seconds."""

STALLED_SECONDS: Final = 15.0
"""What a person must change may be an object that rings no bell."""


class OrganizationReconciler:
    """Owns the whole of one organization's children."""

    def __init__(self, context: Context, memories: Memories) -> None:
        self._context = context
        self._memories = memories
        self._restarts = Restarts(context)
        self._keeping = Keeping()

    async def __call__(self, key: Key) -> Outcome:
        """Make the cluster contain what the organization wants, and report."""
        body = self._context.inventory.organization(key.name)
        if body is None:
            self._forget(key)
            return DONE
        organization, invalid = parsed(OrganizationRuntime, body)
        if organization.metadata.deletion_timestamp is not None:
            return await self._delete(key, body, organization)
        found = Found(runtime_id=runtime_id(organization), stalled=invalid)
        again: float | None = None
        memory = self._memories.of(key.name)
        memory.wanted_namespace = wanted_namespace(body)
        if invalid is None:
            if FINALIZER not in organization.metadata.finalizers:
                await self._context.cluster.add_finalizer(
                    key.object_key(), organization.metadata.uid
                )
            again = await self._try(organization, body, memory, found)
        return await self._report(key, organization, memory, found, again)

    def desired(self, organization: str) -> dict[ObjectKey, Manifest] | None:
        """Return the children that were wanted last; None before the first reconcile."""
        memory = self._memories.find(organization)
        if memory is None or memory.blueprint is None:
            return None
        wanted = desired(memory.blueprint)
        if memory.held:
            del wanted[observed.deployment_key(memory.blueprint.namespace)]
        return wanted

    async def _try(
        self, organization: OrganizationRuntime, body: Manifest, memory: Memory, found: Found
    ) -> float | None:
        """Go as far as possible; what ends the way early is found, not raised."""
        try:
            return await self._establish(organization, body, memory, found)
        except UserError as error:
            found.stalled = error
            return STALLED_SECONDS
        except NotReadyYet as error:
            found.waiting = error
            return error.delay
        except Gone as error:
            found.waiting = NotReadyYet(reasons.NAMESPACE_TERMINATING, error.message)
            return STALLED_SECONDS
        except Forbidden as error:
            found.waiting = NotReadyYet(reasons.FORBIDDEN, error.message)
            return STALLED_SECONDS

    async def _establish(
        self, organization: OrganizationRuntime, body: Manifest, memory: Memory, found: Found
    ) -> float | None:
        claimed = await claim(self._context, organization, body["metadata"]["creationTimestamp"])
        self._note_claim(organization, claimed, memory, found)
        self._context.metrics.objects.bounded(organization)
        built = await self._blueprint(organization, claimed, memory, found)
        blueprint = self._keeping.shared(built, memory.blueprint)
        await recording.record(self._context, self._memories, blueprint.name, blueprint.namespace)
        memory.blueprint = blueprint
        wanted = desired(blueprint)
        if claimed.fresh:
            key = observed.namespace_key(claimed.name)
            memory.applied[key] = ""
            del wanted[key]
        found.restart_pending = self._restarts.decide(blueprint, wanted, memory)
        await self._apply(memory.blueprint, wanted, memory, found, fresh=claimed.fresh)
        again = await self._follow(memory.blueprint, memory, found)
        await applying.prune_images(self._context, memory.blueprint, memory)
        return again

    def _note_claim(
        self, organization: OrganizationRuntime, claimed: Claimed, memory: Memory, found: Found
    ) -> None:
        if memory.namespace_uid != claimed.uid:
            memory.reset()
            memory.namespace_uid = claimed.uid
            memory.wanted_namespace = claimed.name
        found.namespace = claimed.name
        found.namespace_uid = claimed.uid
        found.namespace_made = claimed.made
        found.url = self._context.settings.url_template.format(
            namespace=claimed.name, organization=organization.metadata.name
        )
        found.workload = self._workload(organization.metadata.name, claimed.name)

    def _workload(self, organization: str, namespace: str) -> Workload:
        children = self._context.cluster.children(organization)
        return observed.workload(children.get(observed.deployment_key(namespace)), namespace)

    async def _blueprint(
        self, organization: OrganizationRuntime, claimed: Claimed, memory: Memory, found: Found
    ) -> Blueprint:
        allowed, found.stalled = self._egress(organization)
        workload = self._workload(organization.metadata.name, claimed.name)
        return await gathering.blueprint(
            self._context, organization, claimed, allowed, memory, workload=workload
        )

    def _egress(
        self, organization: OrganizationRuntime
    ) -> tuple[tuple[EgressRule, ...], UserError | None]:
        """Return the entries that are allowed, and why the first of the others is not."""
        rules = organization.spec.network.egress
        if not rules:
            return (), None
        name = organization.metadata.name
        others = {
            namespace: other
            for namespace, other in self._context.inventory.wishes()
            if other != name
        }
        denied = self._context.settings.denied_cidrs
        verdicts = [
            first_violation(egress.RULES, egress.Entry(index, rule, others, denied))
            for index, rule in enumerate(rules)
        ]
        allowed = tuple(
            rule for rule, verdict in zip(rules, verdicts, strict=True) if verdict is None
        )
        return allowed, next((verdict for verdict in verdicts if verdict), None)

    async def _apply(
        self,
        blueprint: Blueprint,
        wanted: dict[ObjectKey, Manifest],
        memory: Memory,
        found: Found,
        *,
        fresh: bool,
    ) -> None:
        due = applying.due(self._context, blueprint.name, wanted, memory)

        async def secrets_and_pool() -> None:
            done, _ = await asyncio.gather(
                secrets.ensure(self._context, blueprint, memory, fresh=fresh),
                self._make_pool(blueprint),
            )
            found.handled_rotation = done.handled_rotation
            if done.rotated:
                await following.touch_all(
                    self._context, blueprint, memory, f"key-{done.handled_rotation}"
                )
                self._tell(blueprint, "ApiKeyRotated", "A new API key replaced the former one.")

        await applying.apply(
            self._context,
            blueprint,
            due.manifests,
            memory,
            fresh=fresh,
            after_role=secrets_and_pool,
        )
        await applying.prune(self._context, blueprint, memory)
        for key in due.repaired:
            note = f"{key.kind} '{key.name}' was changed or deleted and is restored."
            self._tell(blueprint, "DriftRepaired", note)

    def _tell(self, blueprint: Blueprint, reason: str, note: str) -> None:
        metadata = blueprint.organization.metadata
        key = Key.organization(metadata.name).object_key()
        self._context.cluster.event(key, metadata.uid, "Normal", reason, note)

    async def _make_pool(self, blueprint: Blueprint) -> None:
        pools = self._context.inventory.pools(blueprint.namespace)
        if not any(body["metadata"]["name"] == DEFAULT_POOL for body in pools):
            made = await self._context.cluster.create(storage.pool(blueprint))
            if made is not None:
                self._context.inventory.remember(made)

    async def _follow(self, blueprint: Blueprint, memory: Memory, found: Found) -> float | None:
        workload = found.workload = self._workload(blueprint.name, blueprint.namespace)
        interest = recording.interest(memory)
        followed = await following.follow(self._context, blueprint, workload, memory, interest)
        found.configuration = followed.configuration
        if memory.secrets is not None:
            found.missing_credentials, found.missing_documents = memory.secrets.missing
            found.needs_credentials = any(credentials(blueprint.organization.spec))
        return _sooner(followed, memory)

    async def _report(
        self,
        key: Key,
        organization: OrganizationRuntime,
        memory: Memory,
        found: Found,
        again: float | None,
    ) -> Outcome:
        body = self._context.inventory.organization(key.name)
        if body is None or body["metadata"]["uid"] != organization.metadata.uid:
            return DONE
        await report(self._context, key, body, status(organization, found, conditions.now()))
        memory.reconciled = True
        if memory.blueprint is not None:
            memory.blueprint = self._keeping.without_status(memory.blueprint)
        if found.namespace is not None:
            news = members.news(self._context, self._memories, key.name, found.namespace)
            ring_changed(self._context.ring, memory.told, news)
        return Outcome(again)

    async def _delete(self, key: Key, body: Manifest, organization: OrganizationRuntime) -> Outcome:
        if FINALIZER not in organization.metadata.finalizers:
            return DONE
        waits_for = await deletion.shut_down(self._context, organization)
        if not waits_for:
            await self._context.cluster.remove_finalizer(
                key.object_key(), organization.metadata.uid
            )
            return DONE
        found = Found(terminating=waits_for)
        await report(self._context, key, body, status(organization, found, conditions.now()))
        return DONE

    def _forget(self, key: Key) -> None:
        """Drop what is known of an organization that is gone, and tell what it leaves behind."""
        self._restarts.forget(key.name)
        self._context.metrics.objects.forget(key)
        memory = self._memories.forget(key.name)
        if memory is None:
            return
        for member in memory.told:
            self._context.ring(member)
        for rival in self._context.inventory.wanting(memory.wanted_namespace):
            self._context.ring(Key.of(rival))


def _sooner(followed: Followed, memory: Memory) -> float | None:
    """Return when to look again: at once when a rollout can be judged by new answers."""
    if followed.asked and (recording.is_under_way(memory) or memory.following.wants_image):
        return 0.0
    wake_at = recording.wake_at(memory)
    if wake_at is None:
        return followed.again_after
    wait = max(0.0, wake_at - time()) + EARLY_SECONDS
    return wait if followed.again_after is None else min(wait, followed.again_after)
