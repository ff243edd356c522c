"""Reports an AgentPackage: what the organization's reconcile decided and the runtimes said."""

from dataclasses import replace

from bulkhead_api.v1alpha1 import AgentPackage
from bulkhead_operator.context import Context
from bulkhead_operator.errors import NotReadyYet, UserError
from bulkhead_operator.reconcile import members
from bulkhead_operator.reconcile.keys import DONE, Key, Outcome
from bulkhead_operator.reconcile.memory import Memories
from bulkhead_operator.reconcile.parse import parsed
from bulkhead_operator.reconcile.report import report
from bulkhead_operator.status import conditions
from bulkhead_operator.status.package import PackageFound, status


class PackageReconciler:
    """Never writes anything but the package's status."""

    def __init__(self, context: Context, memories: Memories) -> None:
        self._context = context
        self._memories = memories

    async def __call__(self, key: Key) -> Outcome:
        """Bring the status up to date."""
        body = self._context.inventory.get(key)
        if body is None or "deletionTimestamp" in body["metadata"]:
            self._context.metrics.objects.forget(key)
            return DONE
        try:
            organization = members.organization_of(self._context, key.namespace or "")
        except UserError as error:
            await self._homeless(key, PackageFound(violation=error))
        except NotReadyYet as error:
            await self._homeless(key, PackageFound(waiting=error))
        else:
            if members.is_reconciled(self._memories, organization):
                await report_package(self._context, self._memories, organization, key)
        return DONE

    async def _homeless(self, key: Key, found: PackageFound) -> None:
        body = self._context.inventory.get(key)
        if body is not None:
            package, _ = parsed(AgentPackage, body)
            await report(self._context, key, body, status(package, found, conditions.now()))


async def report_package(context: Context, memories: Memories, organization: str, key: Key) -> None:
    """Write what was decided about a package last to its status."""
    async with memories.of(organization).writing[key.name]:
        body = context.inventory.get(key)
        if body is None or "deletionTimestamp" in body["metadata"]:
            return
        package, invalid = parsed(AgentPackage, body)
        found = members.package_found(context, memories, organization, body)
        if invalid is not None:
            found = replace(found, violation=invalid)
        await report(context, key, body, status(package, found, conditions.now()))
