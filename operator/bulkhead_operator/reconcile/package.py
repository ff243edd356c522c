"""Reports an AgentPackage: what the organization's reconcile decided and the runtimes said."""

from bulkhead_api.v1alpha1 import AgentPackage
from bulkhead_operator.cluster.port import Manifest
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
            self._context.metrics.conditions.remove(key)
            return DONE
        package, invalid = parsed(AgentPackage, body)
        found = self._found(key, body)
        if not members.is_reconciled(self._memories, found.organization):
            return DONE
        if invalid is not None:
            found = PackageFound(organization=found.organization, violation=invalid)
        wrote = await report(self._context, key, body, status(package, found, conditions.now()))
        if wrote and found.current and found.serving and found.serving[0] != package.status.version:
            self._context.cluster.event(
                key.object_key(),
                package.metadata.uid,
                "Normal",
                "PackageInService",
                f"New sessions begin with version {found.serving[0]}.",
            )
        return DONE

    def _found(self, key: Key, body: Manifest) -> PackageFound:
        try:
            organization = members.organization_of(self._context, key.namespace or "")
        except UserError as error:
            return PackageFound(violation=error)
        except NotReadyYet as error:
            return PackageFound(waiting=error)
        return members.package_found(self._memories, organization, body)
