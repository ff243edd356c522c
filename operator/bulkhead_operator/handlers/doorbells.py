"""What an event of our three kinds sets off: the inventory remembers it, and keys are rung."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

from bulkhead_operator.cluster.port import Manifest, ObjectKey
from bulkhead_operator.reconcile.inventory import Inventory, version_of
from bulkhead_operator.reconcile.keys import ORGANIZATION, Key

_ASKED: Final = ("generation", "deletionTimestamp", "labels", "annotations")
"""Metadata by which people ask for something; the rest is bookkeeping."""


class Doorbells:
    """Turns what was delivered, and what our own writes returned, into keys on the queue."""

    def __init__(
        self,
        inventory: Inventory,
        forget: Callable[[Key], None],
        ring: Callable[[Key], None],
        on_delivery: Callable[[], object],
    ) -> None:
        """Call `forget` with what is gone, `ring` with what is to be looked at."""
        self._inventory = inventory
        self._forget = forget
        self._ring = ring
        self._on_delivery = on_delivery
        self._expected: Counter[Key] = Counter()
        self._held: dict[Key, Mapping[str, Any]] = {}

    @contextmanager
    def expecting(self, written: ObjectKey) -> Iterator[None]:
        """Hold events of an object back while a write of ours to it is under way.

        Most are its echo, which rings nothing once the answer is known; the last one held is
        taken in afterwards, whatever came of the write.
        """
        key = Key(written.kind, written.namespace, written.name)
        self._expected[key] += 1
        try:
            yield
        finally:
            self._expected[key] -= 1
            if not self._expected[key]:
                del self._expected[key]
                if key in self._held:
                    self._take_in(key, self._held.pop(key))

    def rang(self, event: Mapping[str, Any]) -> None:
        """Take in one watch event; its type is None for what was listed."""
        body: Manifest = event["object"]
        key = Key.of(body)
        if event["type"] != "DELETED":
            self._inventory.mark_delivered(body)
        if key in self._expected:
            self._held[key] = event
        else:
            self._take_in(key, event)
        self._on_delivery()

    def _take_in(self, key: Key, event: Mapping[str, Any]) -> None:
        body: Manifest = event["object"]
        if event["type"] == "DELETED":
            before = self._owner(key)
            if self._inventory.forget(key, version_of(body)):
                self.gone(key, before)
            return
        before = self._claimed(key)
        if self._inventory.remember(body):
            self._ring_all(key)
            self._ring_members_on_claim(key, before)

    def gone(self, key: Key, owner: str | None = None) -> None:
        """Ring what a deletion concerns."""
        self._forget(key)
        self._ring_all(key, owner)

    def written(self, body: Manifest) -> None:
        """Take in what a write of ours returned; rings only if a person's change came with it."""
        key = Key.of(body)
        known, before = self._inventory.get(key), self._claimed(key)
        if self._inventory.remember(body):
            if known is not None and _asks_for_more(known, body):
                self._ring_all(key)
            self._ring_members_on_claim(key, before)

    def _ring_all(self, key: Key, owner: str | None = None) -> None:
        self._ring(key)
        owner = owner or self._owner(key)
        if owner is not None:
            self._ring(Key.organization(owner))

    def _owner(self, key: Key) -> str | None:
        return None if key.namespace is None else self._inventory.organization_of(key.namespace)

    def _claimed(self, key: Key) -> str | None:
        return self._inventory.recorded_namespace(key.name) if key.kind == ORGANIZATION else None

    def _ring_members_on_claim(self, key: Key, before: str | None) -> None:
        namespace = self._claimed(key)
        if namespace is None or namespace == before:
            return
        for body in (*self._inventory.packages(namespace), *self._inventory.pools(namespace)):
            self._ring(Key.of(body))


def _asks_for_more(known: Manifest, body: Manifest) -> bool:
    return known.get("spec") != body.get("spec") or any(
        known["metadata"].get(name) != body["metadata"].get(name) for name in _ASKED
    )
