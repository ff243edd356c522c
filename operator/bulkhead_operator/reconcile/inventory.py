"""The operator's own record of the three kinds: what was delivered last, by name and namespace.

Bodies are kept as JSON text without managedFields, a tenth of what their objects would take, and
each question gets objects of its own. A body that our own patch returned is remembered at once, so
that the event that is still on its way cannot make a second write. Which organization a
namespace belongs to is read from status that only the operator writes, never from a label.
"""

from collections.abc import Iterable, Mapping
from typing import Any, Final, NamedTuple

import orjson

from bulkhead_api.names import ANNOTATION_ROLLBACK_TO, default_namespace
from bulkhead_operator.cluster.port import Manifest
from bulkhead_operator.reconcile.keys import ORGANIZATION, PACKAGE, POOL, Key

LONGEST_MANAGER: Final = 128


def version_of(body: Mapping[str, Any]) -> int:
    """Return the resourceVersion, which grows with every write to the API server."""
    return int(body["metadata"]["resourceVersion"])


def wanted_namespace(body: Mapping[str, Any]) -> str:
    """Return the namespace that an OrganizationRuntime asks for."""
    named: str | None = (body.get("spec") or {}).get("namespace")
    return named or default_namespace(body["metadata"]["name"])


def manager_of(managed: Iterable[Mapping[str, Any]], body: Mapping[str, Any]) -> str:
    """Return who manages what names the version: the person's rollback, else the spec."""
    annotations = body["metadata"].get("annotations") or {}
    by_annotation = ANNOTATION_ROLLBACK_TO in annotations
    for entry in managed:
        fields = entry.get("fieldsV1") or {}
        marks = fields.get("f:metadata", {}).get("f:annotations", {})
        names = marks if by_annotation else fields.get("f:spec", {})
        wanted = f"f:{ANNOTATION_ROLLBACK_TO}" if by_annotation else "f:version"
        if wanted in names:
            return str(entry.get("manager", ""))[:LONGEST_MANAGER]
    return ""


class _Kept(NamedTuple):
    version: int
    text: bytes

    def body(self) -> Manifest:
        body: Manifest = orjson.loads(self.text)
        return body


class _Claim(NamedTuple):
    """An organization's namespace: what its spec asks for, and what its status says it has."""

    wanted: str
    recorded: str | None


class Inventory:
    """Bodies of OrganizationRuntimes, AgentPackages and MemoryPools."""

    def __init__(self) -> None:
        self._organizations: dict[str, _Kept] = {}
        self._members: dict[str, dict[str, dict[str, _Kept]]] = {PACKAGE: {}, POOL: {}}
        self._claims: dict[str, _Claim] = {}
        self._owners: dict[str, str] = {}
        self._wanting: dict[str, set[str]] = {}
        self._delivered: dict[Key, int] = {}
        self._managers: dict[Key, str] = {}

    def organization(self, name: str) -> Manifest | None:
        """Return one OrganizationRuntime, or None."""
        return self.get(Key.organization(name))

    def has_organization(self, name: str) -> bool:
        """Tell whether there is an OrganizationRuntime of that name."""
        return name in self._organizations

    def organizations(self) -> Iterable[Manifest]:
        """Return all OrganizationRuntimes."""
        return tuple(kept.body() for kept in self._organizations.values())

    def wishes(self) -> Iterable[tuple[str, str]]:
        """Return the namespaces that are asked for, each with the organization that asks."""
        return tuple((space, name) for space, names in self._wanting.items() for name in names)

    def wanting(self, namespace: str) -> Iterable[Manifest]:
        """Return the OrganizationRuntimes that ask for a namespace, whether or not they have it."""
        names = self._wanting.get(namespace, ())
        return tuple(self._organizations[name].body() for name in names)

    def packages(self, namespace: str) -> Iterable[Manifest]:
        """Return the AgentPackages of a namespace."""
        return self._bodies(PACKAGE, namespace)

    def pools(self, namespace: str) -> Iterable[Manifest]:
        """Return the MemoryPools of a namespace."""
        return self._bodies(POOL, namespace)

    def get(self, key: Key) -> Manifest | None:
        """Return the body of a key, or None."""
        kept = self._kept(key)
        return None if kept is None else kept.body()

    def all_keys(self) -> list[Key]:
        """Return the keys of all bodies."""
        return [
            *(Key.organization(name) for name in self._organizations),
            *(
                Key(kind, namespace, name)
                for kind, namespaces in self._members.items()
                for namespace, bodies in namespaces.items()
                for name in bodies
            ),
        ]

    def recorded_namespace(self, organization: str) -> str | None:
        """Return the namespace that an organization's status names, or None."""
        claim = self._claims.get(organization)
        return None if claim is None else claim.recorded

    def organization_of(self, namespace: str) -> str | None:
        """Return the organization whose claim on the namespace the operator has recorded."""
        return self._owners.get(namespace)

    def remember(self, body: Manifest) -> bool:
        """Keep a body unless a newer one is known; tells whether it was new."""
        key = Key.of(body)
        known = self._kept(key)
        version = version_of(body)
        if known is not None and known.version >= version:
            return False
        managed = body["metadata"].pop("managedFields", None)
        if key.kind == PACKAGE:
            self._managers[key] = manager_of(managed or (), body)
        # A copy, because orjson leaves its result in a buffer of several times its length.
        kept = _Kept(version, memoryview(orjson.dumps(body)).tobytes())
        if key.kind == ORGANIZATION:
            if known is not None:
                self._forget_organization(key.name)
            self._organizations[key.name] = kept
            self._record_claim(body)
        else:
            self._members[key.kind].setdefault(key.namespace or "", {})[key.name] = kept
        return True

    def forget(self, key: Key, version: int) -> bool:
        """Take out a body that was gone at `version`; a newer one of that name stays."""
        known = self._kept(key)
        if known is None or known.version > version:
            return False
        if key.kind == ORGANIZATION:
            self._forget_organization(key.name)
        else:
            bodies = self._members[key.kind][key.namespace or ""]
            del bodies[key.name]
            if not bodies:
                del self._members[key.kind][key.namespace or ""]
        self._delivered.pop(key, None)
        self._managers.pop(key, None)
        return True

    def manager(self, key: Key) -> str:
        """Return the field manager that asked for a package's version; empty when unknown."""
        return self._managers.get(key, "")

    def mark_delivered(self, body: Manifest) -> None:
        """Note that the watch, not a write of ours, brought this version."""
        key = Key.of(body)
        self._delivered[key] = max(version_of(body), self._delivered.get(key, 0))

    def delivered(self, key: Key) -> int:
        """Return the newest version that the watch brought, 0 for none."""
        return self._delivered.get(key, 0)

    def _kept(self, key: Key) -> _Kept | None:
        if key.kind == ORGANIZATION:
            return self._organizations.get(key.name)
        return self._members[key.kind].get(key.namespace or "", {}).get(key.name)

    def _bodies(self, kind: str, namespace: str) -> Iterable[Manifest]:
        return tuple(kept.body() for kept in self._members[kind].get(namespace, {}).values())

    def _record_claim(self, body: Manifest) -> None:
        name, status = body["metadata"]["name"], body.get("status") or {}
        claim = self._claims[name] = _Claim(wanted_namespace(body), status.get("namespace"))
        self._wanting.setdefault(claim.wanted, set()).add(name)
        if claim.recorded and status.get("namespaceUID"):
            self._owners.setdefault(claim.recorded, name)

    def _forget_organization(self, name: str) -> None:
        del self._organizations[name]
        claim = self._claims.pop(name)
        self._wanting[claim.wanted].discard(name)
        if not self._wanting[claim.wanted]:
            del self._wanting[claim.wanted]
        if claim.recorded and self._owners.get(claim.recorded) == name:
            del self._owners[claim.recorded]
            for rival in self.wanting(claim.recorded):
                self._record_claim(rival)
