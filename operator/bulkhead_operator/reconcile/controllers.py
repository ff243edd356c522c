"""The one place where machinery and domain meet: a reconcile per kind, and what is wanted."""

from collections.abc import Mapping

from bulkhead_operator.cluster.port import Manifest, ObjectKey
from bulkhead_operator.context import Context
from bulkhead_operator.reconcile.keys import (
    ORGANIZATION,
    PACKAGE,
    POOL,
    Controllers,
    Reconcile,
)
from bulkhead_operator.reconcile.memory import Memories
from bulkhead_operator.reconcile.organization import OrganizationReconciler
from bulkhead_operator.reconcile.package import PackageReconciler
from bulkhead_operator.reconcile.pool import PoolReconciler


class _Controllers:
    """The reconciles of one term, with what they remember together."""

    def __init__(self, context: Context) -> None:
        memories = Memories()
        self._organization = OrganizationReconciler(context, memories)
        self._reconcilers: dict[str, Reconcile] = {
            ORGANIZATION: self._organization,
            PACKAGE: PackageReconciler(context, memories),
            POOL: PoolReconciler(context, memories),
        }

    @property
    def reconcilers(self) -> Mapping[str, Reconcile]:
        """Return the reconcile of each kind, by the kind's name."""
        return self._reconcilers

    def desired(self, organization: str) -> Mapping[ObjectKey, Manifest] | None:
        """Return the children that were wanted last; None before the first reconcile."""
        return self._organization.desired(organization)


def controllers(context: Context) -> Controllers:
    """Return what the domain offers for one term of leadership."""
    return _Controllers(context)
