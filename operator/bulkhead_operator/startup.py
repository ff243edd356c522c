"""The composition root: makes every part of a term and connects them."""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from bulkhead_api.names import API_VERSION
from bulkhead_operator.cluster.api_server import ApiServer
from bulkhead_operator.cluster.children import Children
from bulkhead_operator.cluster.client import ApiClient
from bulkhead_operator.cluster.credentials import Credentials
from bulkhead_operator.cluster.discovery import discoverable
from bulkhead_operator.cluster.events import Events
from bulkhead_operator.cluster.kinds import WATCHED
from bulkhead_operator.cluster.lease import Lease
from bulkhead_operator.cluster.port import Manifest, ObjectKey, Runtimes
from bulkhead_operator.cluster.versions import versions_of
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
    queue = Queue(reconcilers, workers=settings.workers, metrics=metrics.queue)

    def desired(organization: str) -> Mapping[ObjectKey, Manifest] | None:
        return controllers.desired(organization)

    def gone(key: Key) -> None:
        bells.gone(key)

    children = Children(desired, _look_at(inventory, queue))
    audit = Audit(partial(versions_of, client, API_VERSION), inventory, gone)
    bells = Doorbells(inventory, metrics.objects.forget, queue.ring, audit.delivered.set)
    events = _events(process, lease)
    cluster = ApiServer(
        client,
        fence=lease.remaining,
        children=children,
        events=events,
        expecting=bells.expecting,
        on_written=bells.written,
    )
    controllers = process.domain(
        Context(settings, cluster, process.runtimes, inventory, metrics, queue.ring)
    )
    reconcilers.update(controllers.reconcilers)
    listener = Listener(
        registry_of(_from_thread(bells), process.credentials), partial(discoverable, client)
    )
    lists = asyncio.Semaphore(LISTS_AT_ONCE)
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


def _look_at(inventory: Inventory, queue: Queue) -> Callable[[str], None]:
    def look_at(organization: str) -> None:
        # The label can be forged, so only organizations that there are get a look.
        if inventory.has_organization(organization):
            queue.ring(Key.organization(organization))

    return look_at


def _events(process: Process, lease: Lease) -> Events:
    return Events(
        process.client,
        fence=lease.remaining,
        instance=process.settings.identity,
        on_drop=process.metrics.events_dropped.inc,
    )


def _from_thread(bells: Doorbells) -> Callable[[Mapping[str, Any]], None]:
    """Return what rings the bells in this loop, from whichever thread it is called."""
    loop = asyncio.get_running_loop()

    def rang(event: Mapping[str, Any]) -> None:
        loop.call_soon_threadsafe(bells.rang, event)

    return rang
