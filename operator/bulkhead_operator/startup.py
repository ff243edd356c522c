"""The composition root: makes every part of a term and connects them."""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from bulkhead_api.names import API_VERSION
from bulkhead_operator.cluster.api_server import ApiServer
from bulkhead_operator.cluster.children import Children
from bulkhead_operator.cluster.client import ApiClient
from bulkhead_operator.cluster.credentials import Credentials
from bulkhead_operator.cluster.events import Events
from bulkhead_operator.cluster.kinds import WATCHED
from bulkhead_operator.cluster.lease import Lease
from bulkhead_operator.cluster.port import Manifest, ObjectKey, Runtimes
from bulkhead_operator.cluster.versions import Versions, versions_of
from bulkhead_operator.cluster.watch import KindWatch
from bulkhead_operator.context import Context
from bulkhead_operator.deafness import Audit, DeafnessWatch
from bulkhead_operator.handlers.doorbells import Doorbells
from bulkhead_operator.handlers.listening import Listener
from bulkhead_operator.handlers.registry import registry_of
from bulkhead_operator.metrics import Metrics
from bulkhead_operator.reconcile.inventory import Inventory
from bulkhead_operator.reconcile.keys import Controllers, Key, Reconcile
from bulkhead_operator.reconcile.queue import Queue
from bulkhead_operator.settings import Settings
from bulkhead_operator.term import Parts, Term

LISTS_AT_ONCE: Final = 2


@dataclass(frozen=True)
class Process:
    """What outlives every term."""

    settings: Settings
    credentials: Credentials
    client: ApiClient
    runtimes: Runtimes
    metrics: Metrics
    domain: Callable[[Context], Controllers]


def compose(process: Process, lease: Lease) -> Term:
    """Return a term in which writes are fenced by `lease`."""
    settings, client, metrics = process.settings, process.client, process.metrics
    inventory = Inventory()
    reconcilers: dict[str, Reconcile] = {}
    queue = Queue(reconcilers, workers=settings.workers, metrics=metrics)

    def desired(organization: str) -> Mapping[ObjectKey, Manifest] | None:
        return controllers.desired(organization)

    def child_changed(organization: str) -> None:
        # The label can be forged, so only organizations that there are get a look.
        if inventory.has_organization(organization):
            queue.ring(Key.organization(organization))

    def gone(key: Key) -> None:
        doorbells.gone(key)

    async def versions(kind: str) -> Versions:
        return await versions_of(client, API_VERSION, kind)

    children = Children(desired, child_changed)
    lists = asyncio.Semaphore(LISTS_AT_ONCE)
    events = Events(
        client,
        fence=lease.remaining,
        instance=settings.identity,
        on_drop=metrics.events_dropped.inc,
    )
    audit = Audit(versions, inventory, gone)
    doorbells = Doorbells(inventory, metrics.objects.forget, queue.ring, audit.delivered.set)
    cluster = ApiServer(
        client,
        fence=lease.remaining,
        children=children,
        events=events,
        expecting=doorbells.expecting,
        on_written=doorbells.written,
    )
    controllers = process.domain(
        Context(settings, cluster, process.runtimes, inventory, metrics, queue.ring)
    )
    reconcilers.update(controllers.reconcilers)
    loop = asyncio.get_running_loop()

    def rang(event: Mapping[str, Any]) -> None:
        loop.call_soon_threadsafe(doorbells.rang, event)

    listener = Listener(registry_of(rang, process.credentials), audit.reachable)
    return Term(
        Parts(
            lease=lease,
            listener=listener,
            watches=[KindWatch(client, kind, children, lists) for kind in WATCHED],
            audit=audit,
            deafness=DeafnessWatch(audit, listener.restart),
            queue=queue,
            events=events,
            inventory=inventory,
            metrics=metrics,
            resync_seconds=settings.usage_seconds,
        )
    )
