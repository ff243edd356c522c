"""Keeps the children's records true: one list and one endless watch per kind.

Resumes where it stopped, lists anew after a gap (410), and survives every answer: an error only
means a jittered wait. When something was last heard is recorded, so that liveness can tell a quiet
watch (which still brings bookmarks) from a deaf one.
"""

import asyncio
import random
import time
from collections.abc import Mapping
from typing import Any, Final

import orjson
import structlog

from bulkhead_api.names import LABEL_ORGANIZATION
from bulkhead_operator.backoff import Backoff
from bulkhead_operator.cluster.children import Children
from bulkhead_operator.cluster.client import ApiClient
from bulkhead_operator.cluster.kinds import Kind
from bulkhead_operator.cluster.port import ObjectKey
from bulkhead_operator.errors import ClusterError, Gone

WATCH_SECONDS: Final = 290
LONGEST_BACKOFF: Final = 30.0
SHORTEST_STREAM: Final = 1.0
"""A stream that ended sooner was cut; opening the next at once could become a hot loop."""

_log = structlog.get_logger(__name__)


class KindWatch:
    """Lists and watches one kind for as long as `run` runs."""

    def __init__(
        self,
        client: ApiClient,
        kind: Kind,
        children: Children,
        lists: asyncio.Semaphore | None = None,
    ) -> None:
        """Share `lists` among all kinds: a page in memory is many times what is kept of it."""
        self._lists = lists or asyncio.Semaphore(1)
        self._client = client
        self._children = children
        self._version = ""
        self.kind: Final = kind
        self.synced: Final = asyncio.Event()
        self.heard = time.monotonic()
        """When the watch last heard an event, a bookmark, or an answer that was an error."""

    async def run(self) -> None:
        """Follow the kind until cancelled."""
        backoff = Backoff(0.2, LONGEST_BACKOFF)
        while True:
            began = time.monotonic()
            try:
                await self._list_and_follow()
            except ClusterError as error:
                self.heard = time.monotonic()
                if isinstance(error, Gone):
                    self._version = ""
                _log.info("watch interrupted", watched=self.kind.name, error=error.message)
            if time.monotonic() - began > SHORTEST_STREAM:
                # It worked for a while: a quiet kind, or a server that restarts, is no fault.
                backoff.reset()
            await asyncio.sleep(backoff.next())

    async def _list_and_follow(self) -> None:
        if not self._version:
            await self._list()
            self.synced.set()
        query = {
            "labelSelector": LABEL_ORGANIZATION,
            "resourceVersion": self._version,
            "allowWatchBookmarks": "true",
            "timeoutSeconds": str(WATCH_SECONDS - random.randrange(30)),  # noqa: S311 (spreads)
        }
        async with self._client.watch(self.kind.collection(), query) as lines:
            # An answered request counts: a kind without events may get no bookmarks.
            self.heard = time.monotonic()
            async for line in lines:
                self.heard = time.monotonic()
                self._take(orjson.loads(line))

    async def _list(self) -> None:
        seen: set[ObjectKey] = set()
        query = {"labelSelector": LABEL_ORGANIZATION, "limit": str(self.kind.page)}
        while True:
            async with self._lists:
                metadata = await self._page(query, seen)
            version = metadata["resourceVersion"]
            if not metadata.get("continue"):
                break
            query = {**query, "continue": metadata["continue"]}
        self._children.relisted(self.kind, seen, int(version))
        self._version = version

    async def _page(self, query: Mapping[str, str], seen: set[ObjectKey]) -> Mapping[str, Any]:
        page = await self._client.read(self.kind.collection(), query)
        self.heard = time.monotonic()
        metadata: Mapping[str, Any] = page["metadata"]
        version = int(metadata["resourceVersion"])
        if "continue" not in query and self._children.went_back(self.kind, version):
            _log.warning("versions went back: the store was restored", watched=self.kind.name)
        for live in page.get("items") or ():
            self._children.observed(self.kind, live)
            seen.add(self.kind.key(live))
        return metadata

    def _take(self, event: Mapping[str, Any]) -> None:
        kind, live = event["type"], event["object"]
        if kind == "ERROR":
            # Whatever it says, a complete list is always right.
            self._version = ""
            raise ClusterError(
                live.get("reason") or "WatchError",
                f"watch of {self.kind.plural}: {str(live.get('message', ''))[:300]}",
                int(live.get("code") or 0),
            )
        version = int(live["metadata"]["resourceVersion"])
        if kind == "DELETED":
            self._children.vanished(self.kind.key(live), version)
        elif kind != "BOOKMARK":
            self._children.observed(self.kind, live)
        self._children.progressed(self.kind, version)
        self._version = str(version)
