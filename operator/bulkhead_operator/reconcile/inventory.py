"""The operator's own record of the three kinds: what was delivered last, by name and namespace.

Bodies are raw JSON without managedFields. A body that our own patch returned is remembered at
once, so that the event that is still on its way cannot make a second write. Which organization a
namespace belongs to is read from status that only the operator writes, never from a label.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from bulkhead_api.names import default_namespace
from bulkhead_operator.cluster.port import Manifest
from bulkhead_operator.reconcile.keys import ORGANIZATION, PACKAGE, POOL, Key


def version_of(body: Mapping[str, Any]) -> int:
    """Return the resourceVersion, which grows with every write to the API server."""
    return int(body["metadata"]["resourceVersion"])


def wanted_namespace(body: Mapping[str, Any]) -> str:
    """Return the namespace that an OrganizationRuntime asks for."""
    named: str | None = (body.get("spec") or {}).get("namespace")
    return named or default_namespace(body["metadata"]["name"])


class Inventory:
    """Bodies of OrganizationRuntimes, AgentPackages and MemoryPools."""

    def __init__(self) -> None:
        self._organizations: dict[str, Manifest] = {}
        self._members: dict[str, dict[str, dict[str, Manifest]]] = {PACKAGE: {}, POOL: {}}
        self._owners: dict[str, str] = {}
        self._wanting: dict[str, set[str]] = {}
        self._delivered: dict[Key, int] = {}

    def organization(self, name: str) -> Manifest | None:
        """Return one OrganizationRuntime, or None."""
        return self._organizations.get(name)

    def organizations(self) -> Iterable[Manifest]:
        """Return all OrganizationRuntimes."""
        return tuple(self._organizations.values())

    def wanting(self, namespace: str) -> Iterable[Manifest]:
        """Return the OrganizationRuntimes that ask for a namespace, whether or not they have it."""
        return tuple(self._organizations[name] for name in self._wanting.get(namespace, ()))

    def packages(self, namespace: str) -> Iterable[Manifest]:
        """Return the AgentPackages of a namespace."""
        return tuple(self._members[PACKAGE].get(namespace, {}).values())

    def pools(self, namespace: str) -> Iterable[Manifest]:
        """Return the MemoryPools of a namespace."""
        return tuple(self._members[POOL].get(namespace, {}).values())

    def get(self, key: Key) -> Manifest | None:
        """Return the body of a key, or None."""
        if key.kind == ORGANIZATION:
            return self._organizations.get(key.name)
        return self._members[key.kind].get(key.namespace or "", {}).get(key.name)

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

    def organization_of(self, namespace: str) -> str | None:
        """Return the organization whose claim on the namespace the operator has recorded."""
        return self._owners.get(namespace)

    def remember(self, body: Manifest) -> bool:
        """Keep a body unless a newer one is known; tells whether it was new."""
        key = Key.of(body)
        known = self.get(key)
        if known is not None and version_of(known) >= version_of(body):
            return False
        body["metadata"].pop("managedFields", None)
        if key.kind == ORGANIZATION:
            if known is not None:
                self._forget_organization(known)
            self._organizations[key.name] = body
            self._wanting.setdefault(wanted_namespace(body), set()).add(key.name)
            self._record_claim(body)
        else:
            bodies = self._members[key.kind].setdefault(key.namespace or "", {})
            bodies[key.name] = body
        return True

    def forget(self, key: Key, version: int) -> bool:
        """Take out a body that was gone at `version`; a newer one of that name stays."""
        known = self.get(key)
        if known is None or version_of(known) > version:
            return False
        if key.kind == ORGANIZATION:
            self._forget_organization(known)
        else:
            bodies = self._members[key.kind][key.namespace or ""]
            del bodies[key.name]
            if not bodies:
                del self._members[key.kind][key.namespace or ""]
        self._delivered.pop(key, None)
        return True

    def mark_delivered(self, body: Manifest) -> None:
        """Note that the watch, not a write of ours, brought this version."""
        key = Key.of(body)
        self._delivered[key] = max(version_of(body), self._delivered.get(key, 0))

    def delivered(self, key: Key) -> int:
        """Return the newest version that the watch brought, 0 for none."""
        return self._delivered.get(key, 0)

    def _record_claim(self, body: Manifest) -> None:
        status = body.get("status") or {}
        namespace = status.get("namespace")
        if namespace and status.get("namespaceUID"):
            self._owners.setdefault(namespace, body["metadata"]["name"])

    def _forget_organization(self, body: Mapping[str, Any]) -> None:
        name = body["metadata"]["name"]
        del self._organizations[name]
        wanted = wanted_namespace(body)
        self._wanting[wanted].discard(name)
        if not self._wanting[wanted]:
            del self._wanting[wanted]
        claimed = (body.get("status") or {}).get("namespace")
        if claimed and self._owners.get(claimed) == name:
            del self._owners[claimed]
            for rival in self.wanting(claimed):
                self._record_claim(rival)
