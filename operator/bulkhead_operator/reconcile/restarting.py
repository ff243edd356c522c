"""Holds a Deployment back while an upgraded operator must wait to restart its pods."""

from dataclasses import replace
from typing import Final

from bulkhead_api.names import (
    ANNOTATION_ORGANIZATION_GENERATION,
    ANNOTATION_POD_TEMPLATE_HASH,
)
from bulkhead_operator.cluster.port import Manifest, ObjectKey
from bulkhead_operator.context import Context
from bulkhead_operator.reconcile import observed, pace
from bulkhead_operator.reconcile.inventory import wanted_namespace
from bulkhead_operator.reconcile.keys import Key
from bulkhead_operator.reconcile.memory import Memory
from bulkhead_operator.reconcile.pace import Decision, Pace, WantedTemplate
from bulkhead_operator.resources import deployment
from bulkhead_operator.resources.blueprint import Blueprint
from bulkhead_operator.status import reasons

_WAITS: Final = (
    "The upgraded operator restarts few organizations at a time; the former pods serve on."
)
_HALTED: Final = (
    "The upgraded operator restarts nobody else because others failed; the former pods serve on. "
    "Look for OrganizationRuntimes with reason PodsNotStarting."
)
WHY: Final = {
    Decision.WAIT: (reasons.RESTART_WAITS, _WAITS),
    Decision.HALTED: (reasons.RESTARTS_HALTED, _HALTED),
}


class Restarts:
    """Asks the pace for one organization after the other."""

    def __init__(self, context: Context) -> None:
        self._context = context
        settings = context.settings
        self._pace = Pace(
            settings.restarts_at_once,
            settings.restart_failures_before_halt,
            lambda name: context.ring(Key.organization(name)),
        )

    def decide(
        self, blueprint: Blueprint, wanted: dict[ObjectKey, Manifest], memory: Memory
    ) -> tuple[str, str] | None:
        """Take the Deployment out of `wanted` while it must wait, and return why.

        A restart that may proceed is marked on the Deployment, so that it is known for one that
        no person asked for, by this process and by the next.
        """
        key = observed.deployment_key(blueprint.namespace)
        marks = wanted[key]["metadata"]["annotations"]
        target = WantedTemplate(
            template_hash=marks[ANNOTATION_POD_TEMPLATE_HASH],
            generation=marks[ANNOTATION_ORGANIZATION_GENERATION],
            replicas=deployment.replicas(blueprint),
        )
        live = observed.live_template(self._context.cluster.children(blueprint.name).get(key))
        self._pace.observe(blueprint.name, pace.phase_of(live, target.template_hash))
        decision = Decision.PROCEED
        if pace.needs_a_place(live, target):
            self._seed()
            decision = self._pace.admit(blueprint.name)
            if decision is Decision.PROCEED:
                memory.blueprint = replace(blueprint, upgrade=target.template_hash)
                wanted[key] = deployment.build(memory.blueprint)
        else:
            self._pace.withdraw(blueprint.name)
        memory.held = decision is not Decision.PROCEED
        if memory.held:
            del wanted[key]
        self._measure()
        return WHY.get(decision)

    def forget(self, organization: str) -> None:
        """Give back the place of an organization that is gone."""
        self._pace.leave(organization)
        self._measure()

    def _seed(self) -> None:
        if self._pace.seeded:
            return
        phases = {}
        for body in self._context.inventory.organizations():
            name = body["metadata"]["name"]
            key = observed.deployment_key(wanted_namespace(body))
            live = observed.live_template(self._context.cluster.children(name).get(key))
            phases[name] = pace.phase_of(live)
        self._pace.seed(phases)

    def _measure(self) -> None:
        upgrades = self._context.metrics.upgrades
        upgrades.labels("waiting").set(self._pace.waiting)
        upgrades.labels("under_way").set(self._pace.under_way)
        upgrades.labels("failed").set(self._pace.failed)
