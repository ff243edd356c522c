"""What a reconcile is given, made in one place for one term of leadership."""

from collections.abc import Callable
from dataclasses import dataclass

from bulkhead_operator.cluster.port import Cluster, Runtimes
from bulkhead_operator.metrics import Metrics
from bulkhead_operator.reconcile.inventory import Inventory
from bulkhead_operator.reconcile.keys import Key
from bulkhead_operator.settings import Settings


@dataclass(frozen=True, slots=True)
class Context:
    """The composition of one term: `ring` puts a key on the queue's interactive lane."""

    settings: Settings
    cluster: Cluster
    runtimes: Runtimes
    inventory: Inventory
    metrics: Metrics
    ring: Callable[[Key], None]
