"""The port `Cluster` on a real API server: reads from the watches, writes behind the fence."""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractContextManager, asynccontextmanager, nullcontext
from typing import Any, Final

from bulkhead_api.names import FIELD_MANAGER, FINALIZER, GROUP, LABEL_ORGANIZATION
from bulkhead_operator.cluster.children import Children, is_ours
from bulkhead_operator.cluster.client import (
    APPLY_PATCH,
    JSON,
    JSON_PATCH,
    MERGE_PATCH,
    ApiClient,
    Fence,
)
from bulkhead_operator.cluster.contained import sent, stripped
from bulkhead_operator.cluster.events import Events, Occurrence
from bulkhead_operator.cluster.kinds import kind_of, path_of
from bulkhead_operator.cluster.port import Child, EventType, Manifest, ObjectKey
from bulkhead_operator.errors import Conflict, Gone, NotOurs, Refused

FINALIZER_ATTEMPTS: Final = 5
_OPTIONS: Final = {"fieldManager": FIELD_MANAGER, "fieldValidation": "Ignore"}
"""Without the warnings that nobody reads, the API server parses what is applied once, not twice."""


class ApiServer:
    """Every call that a reconcile makes."""

    def __init__(
        self,
        client: ApiClient,
        *,
        fence: Fence,
        children: Children,
        events: Events,
        expecting: Callable[[ObjectKey], AbstractContextManager[object]],
        on_written: Callable[[Manifest], object],
    ) -> None:
        """Make every write to one of our own three kinds within `expecting` of its key.

        Call `on_written`, within it too, with what came of the write.
        """
        self._client = client
        self._fence = fence
        self._children = children
        self._events = events
        self._expecting = expecting
        self._on_written = on_written

    def children(
        self, organization: str, wanted: Mapping[ObjectKey, Manifest] | None = None
    ) -> Mapping[ObjectKey, Child]:
        """Return the organization's children as last seen by watch."""
        return self._children.of(organization, wanted)

    async def get(self, key: ObjectKey) -> Manifest | None:
        """Return one object, or None."""
        try:
            return await self._client.read(path_of(key))
        except Gone:
            return None

    async def list(
        self, api_version: str, kind: str, namespace: str, label_selector: str
    ) -> Sequence[Manifest]:
        """Return the objects of one namespace that match the selector, in pages."""
        known = kind_of(ObjectKey(api_version, kind, namespace, ""))
        query = {"labelSelector": label_selector, "limit": str(known.page)}
        found: list[Manifest] = []
        while True:
            page = await self._client.read(known.collection(namespace), query)
            found.extend(page.get("items") or ())
            if not page["metadata"].get("continue"):
                return found
            query = {**query, "continue": page["metadata"]["continue"]}

    async def create(self, manifest: Manifest) -> Manifest | None:
        """Create an object; None when one of that name is already there."""
        key = ObjectKey.of(manifest)
        kind = kind_of(key)
        with self._children.expecting(key):
            try:
                live = await self._write(
                    key, "POST", kind.collection(key.namespace), sent(manifest)
                )
            except Conflict:
                return None
            organization = live["metadata"].get("labels", {}).get(LABEL_ORGANIZATION)
            if kind.watched and organization:
                self._children.applied(kind, live, manifest, organization)
        return live

    async def apply(self, manifest: Manifest, organization: str, *, fresh: bool = False) -> Child:
        """Apply server-side, forcing our fields; refuses what is not ours with `NotOurs`."""
        key = ObjectKey.of(manifest)
        kind = kind_of(key)
        await self._check_ours(key, fresh=fresh)
        with self._children.expecting(key):
            live = await self._client.write(
                "PATCH",
                path_of(key),
                sent(manifest),
                fence=self._fence,
                content_type=APPLY_PATCH,
                query={**_OPTIONS, "force": "true"},
            )
            return self._children.applied(kind, live, manifest, organization)

    async def delete(
        self, key: ObjectKey, *, uid: str | None = None, foreground: bool = False
    ) -> None:
        """Delete an object, only the one with `uid` when given; absent is done."""
        body: Manifest = {
            "apiVersion": "v1",
            "kind": "DeleteOptions",
            "propagationPolicy": "Foreground" if foreground else "Background",
        }
        if uid is not None:
            body["preconditions"] = {"uid": uid}
        try:
            await self._client.write("DELETE", path_of(key), body, fence=self._fence)
        except Gone:
            return
        except Conflict:
            # Another uid: the one that was meant is gone. A namespace: it is on its way already.
            live = await self.get(key)
            meant = live is not None and uid in {None, live["metadata"]["uid"]}
            if live is not None and meant and "deletionTimestamp" not in live["metadata"]:
                raise

    async def patch(self, key: ObjectKey, body: Manifest) -> Manifest:
        """Merge-patch an object."""
        return await self._write(key, "PATCH", path_of(key), body, content_type=MERGE_PATCH)

    async def patch_status(self, key: ObjectKey, uid: str, status: Manifest) -> Manifest:
        """Replace the status of one of our kinds, only of the object with `uid`."""
        steps = [_same_object(uid), {"op": "add", "path": "/status", "value": stripped(status)}]
        async with self._only(key, uid):
            return await self._json_patch(key, steps, subresource="status")

    async def add_finalizer(self, key: ObjectKey, uid: str) -> None:
        """Put our finalizer on the object: applied as ours alone, others' stay."""
        manifest = {
            "apiVersion": key.api_version,
            "kind": key.kind,
            "metadata": {
                "name": key.name,
                "uid": uid,
                "finalizers": [FINALIZER],
                **({"namespace": key.namespace} if key.namespace else {}),
            },
        }
        async with self._only(key, uid):
            await self._write(
                key,
                "PATCH",
                path_of(key),
                manifest,
                content_type=APPLY_PATCH,
                query={
                    **_OPTIONS,
                    "fieldManager": f"{FIELD_MANAGER}-finalizer",
                    "force": "true",
                },
            )

    async def remove_finalizer(self, key: ObjectKey, uid: str) -> None:
        """Take our finalizer off, whoever else claims to own it; absent is done."""
        for attempt in range(1, FINALIZER_ATTEMPTS + 1):
            live = await self.get(key)
            if live is None or live["metadata"]["uid"] != uid:
                return
            finalizers = live["metadata"].get("finalizers") or []
            if FINALIZER not in finalizers:
                return
            place = f"/metadata/finalizers/{finalizers.index(FINALIZER)}"
            steps = [
                _same_object(uid),
                {"op": "test", "path": place, "value": FINALIZER},
                {"op": "remove", "path": place},
            ]
            try:
                await self._json_patch(key, steps)
            except Gone:
                return
            except (Refused, Conflict):
                # Another controller changed the list between our read and our write.
                if attempt == FINALIZER_ATTEMPTS:
                    raise
            else:
                return

    def event(self, key: ObjectKey, uid: str, kind: EventType, reason: str, note: str) -> None:
        """Tell people about a change; never waits and never fails."""
        self._events.tell(Occurrence(key, uid, kind, reason, note))

    @asynccontextmanager
    async def _only(self, key: ObjectKey, uid: str) -> AsyncIterator[None]:
        try:
            yield
        except (Refused, Conflict):
            # The API server does not tell another uid from a value that the schema refuses.
            live = await self.get(key)
            if live is None or live["metadata"]["uid"] != uid:
                raise Gone("NotFound", f"{key.kind} {key.name} was replaced", 404) from None
            raise

    async def _json_patch(
        self, key: ObjectKey, steps: Sequence[Mapping[str, Any]], subresource: str = ""
    ) -> Manifest:
        path = path_of(key, subresource)
        return await self._write(key, "PATCH", path, steps, content_type=JSON_PATCH)

    async def _check_ours(self, key: ObjectKey, *, fresh: bool) -> None:
        if fresh:
            return
        ours = self._children.is_ours(key)
        if ours is None:
            live = await self.get(key)
            ours = live is None or is_ours(live)
        if ours is False:
            where = f" in namespace {key.namespace}" if key.namespace else ""
            raise NotOurs(
                "NotOurs",
                f"{key.kind} {key.name}{where} belongs to somebody else: delete or rename it",
            )

    async def _write(
        self,
        key: ObjectKey,
        method: str,
        path: str,
        body: Any,
        *,
        content_type: str = JSON,
        query: Mapping[str, str] = _OPTIONS,
    ) -> Manifest:
        ours = key.api_version.startswith(f"{GROUP}/")
        with self._expecting(key) if ours else nullcontext():
            live = await self._client.write(
                method, path, body, fence=self._fence, content_type=content_type, query=query
            )
            if ours:
                self._on_written(live)
        return live


def _same_object(uid: str) -> Mapping[str, Any]:
    return {"op": "test", "path": "/metadata/uid", "value": uid}
