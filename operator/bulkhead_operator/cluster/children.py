"""What is known of every organization's children: verdicts and facts, never content.

Fed by the watches and by the answers to our own applies. Versions only go forward: an event that
is older than what an apply already returned is the echo of the past and costs nothing.
"""

import zlib
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from sys import intern
from typing import Any

import orjson

from bulkhead_api.names import FIELD_MANAGER, GROUP, LABEL_ORGANIZATION
from bulkhead_operator.cluster.contained import contained
from bulkhead_operator.cluster.kinds import Kind, controller_of
from bulkhead_operator.cluster.port import Child, Manifest, ObjectKey, digest

Desired = Callable[[str], Mapping[ObjectKey, Manifest] | None]
"""Returns what an organization's children should be; None when that is not known yet."""


@dataclass(slots=True)
class _Entry:
    child: Child
    organization: str
    version: int
    ours: bool
    unjudged: bytes | None
    """The live object, compressed, only until it is known what is wanted."""


class Children:
    """The children of all organizations, by organization and key."""

    def __init__(self, desired: Desired, on_change: Callable[[str], None]) -> None:
        """Call `on_change` with the organization whose child needs a look."""
        self._desired = desired
        self._on_change = on_change
        self._entries: dict[ObjectKey, _Entry] = {}
        self._organizations: dict[str, dict[ObjectKey, _Entry]] = {}
        self._progress: dict[str, int] = {}
        self._expected: Counter[ObjectKey] = Counter()
        self._held: dict[ObjectKey, tuple[Kind, Mapping[str, Any]]] = {}

    @contextmanager
    def expecting(self, key: ObjectKey) -> Iterator[None]:
        """Hold events of a key back while a write of ours is under way.

        Most are its echo, which is known as such, and costs nothing, once the answer is there.
        """
        self._expected[key] += 1
        try:
            yield
        finally:
            self._expected[key] -= 1
            if not self._expected[key]:
                del self._expected[key]
                if key in self._held:
                    self.observed(*self._held.pop(key))

    def of(
        self, organization: str, wanted: Mapping[ObjectKey, Manifest] | None = None
    ) -> Mapping[ObjectKey, Child]:
        """Return an organization's children, those not judged yet judged against `wanted`."""
        entries = self._organizations.get(organization, {})
        for key, entry in entries.items():
            if entry.unjudged is not None:
                wanted = wanted if wanted is not None else self._desired(organization)
                if wanted is None:
                    break
                live = orjson.loads(zlib.decompress(entry.unjudged))
                entry.child = _judged(entry.child, live, wanted.get(key))
                entry.unjudged = None
        return {key: entry.child for key, entry in entries.items()}

    def is_ours(self, key: ObjectKey) -> bool | None:
        """Tell whether we manage a known child; None when it is not known."""
        entry = self._entries.get(key)
        return None if entry is None else entry.ours

    def applied(
        self, kind: Kind, live: Mapping[str, Any], wanted: Manifest, organization: str
    ) -> Child:
        """Remember what an apply returned: it contains what was wanted, so its echo is nothing."""
        child = _seen(kind, live, contained=True, wanted=digest(wanted))
        version = int(live["metadata"]["resourceVersion"])
        labels = live["metadata"].get("labels") or {}
        if not kind.watched or labels.get(LABEL_ORGANIZATION) != organization:
            return child
        known = self._entries.get(child.key)
        if known is not None and known.version > version:
            return child
        passed = self._progress.get(kind.name, 0) >= version
        if known is None and passed and child.key not in self._held:
            # The watch is past this version and does not have the object: it is gone again.
            self._on_change(organization)
            return child
        self._put(_Entry(child, organization, version, ours=True, unjudged=None))
        return child

    def observed(self, kind: Kind, live: Mapping[str, Any]) -> None:
        """Take in what a watch brought: added, changed or listed."""
        version = int(live["metadata"]["resourceVersion"])
        key = kind.key(live)
        known = self._entries.get(key)
        if known is not None and known.version >= version:
            return
        if key in self._expected:
            self._held[key] = (kind, live)
            return
        organization = (live["metadata"].get("labels") or {}).get(LABEL_ORGANIZATION)
        if organization is None:
            self.vanished(key, version)
            return
        entry = self._entry(kind, live, intern(organization), version)
        if known is not None and known.organization != organization:
            self._on_change(known.organization)
        self._put(entry)
        if _needs_a_look(known.child if known else None, entry):
            self._on_change(organization)

    def vanished(self, key: ObjectKey, version: int) -> None:
        """Take in that a child was deleted, or lost its label, at `version`."""
        self._held.pop(key, None)
        entry = self._entries.get(key)
        if entry is None or entry.version > version:
            return
        self._remove(key)
        self._on_change(entry.organization)

    def relisted(self, kind: Kind, seen: Collection[ObjectKey], version: int) -> None:
        """Take in that a complete list at `version` had exactly the objects in `seen`."""
        for key, entry in list(self._entries.items()):
            missing = key.kind == kind.name and key not in seen
            if missing and entry.version <= version:
                self._remove(key)
                self._on_change(entry.organization)
        self.progressed(kind, version)

    def went_back(self, kind: Kind, version: int) -> bool:
        """Tell whether a list at `version` is older than what was seen: etcd was restored.

        What is known of the kind is forgotten then, since versions count anew.
        """
        if version >= self._progress.get(kind.name, 0):
            return False
        for key in [key for key in self._entries if key.kind == kind.name]:
            self._remove(key)
        self._progress[kind.name] = version
        return True

    def progressed(self, kind: Kind, version: int) -> None:
        """Note how far the kind's watch has come."""
        self._progress[kind.name] = max(version, self._progress.get(kind.name, 0))

    def _entry(
        self, kind: Kind, live: Mapping[str, Any], organization: str, version: int
    ) -> _Entry:
        child = _seen(kind, live)
        wanted = self._desired(organization)
        if wanted is None:
            metadata = {k: v for k, v in live["metadata"].items() if k != "managedFields"}
            content = {k: v for k, v in live.items() if k != "status"}
            unjudged = zlib.compress(orjson.dumps(content | {"metadata": metadata}), 1)
            return _Entry(child, organization, version, is_ours(live), unjudged)
        child = _judged(child, live, wanted.get(child.key))
        return _Entry(child, organization, version, is_ours(live), None)

    def _put(self, entry: _Entry) -> None:
        key = entry.child.key
        if key in self._entries:
            self._remove(key)
        self._entries[key] = entry
        self._organizations.setdefault(entry.organization, {})[key] = entry

    def _remove(self, key: ObjectKey) -> None:
        entry = self._entries.pop(key)
        siblings = self._organizations[entry.organization]
        del siblings[key]
        if not siblings:
            del self._organizations[entry.organization]


def _seen(
    kind: Kind, live: Mapping[str, Any], *, contained: bool = False, wanted: str = ""
) -> Child:
    metadata = live["metadata"]
    return Child(
        key=kind.key(live),
        uid=metadata["uid"],
        contained=contained,
        terminating="deletionTimestamp" in metadata,
        facts=kind.facts(live),
        wanted=wanted,
    )


def _judged(child: Child, live: Mapping[str, Any], wanted: Manifest | None) -> Child:
    if wanted is None:
        return child
    return replace(child, contained=contained(wanted, live), wanted=digest(wanted))


def _needs_a_look(before: Child | None, entry: _Entry) -> bool:
    child = entry.child
    if before is None:
        # One that is as wanted is the echo of an apply whose answer is still on its way.
        return not child.contained
    return (
        not child.contained
        or child.uid != before.uid
        or child.terminating != before.terminating
        or child.facts != before.facts
    )


def is_ours(live: Mapping[str, Any]) -> bool:
    """Tell whether we ever wrote to the object, and no other controller owns it."""
    controller = controller_of(live)
    if controller is not None and not controller["apiVersion"].startswith(f"{GROUP}/"):
        return False
    managers = live["metadata"].get("managedFields") or ()
    return any(entry.get("manager") == FIELD_MANAGER for entry in managers)
