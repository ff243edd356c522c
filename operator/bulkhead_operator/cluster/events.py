"""Events for people: what changed, in the past tense, once, and never in a reconcile's way.

Telling costs a dictionary look-up; one sender works off a bounded queue at a bounded rate. What is
too much is dropped and counted: status and logs hold the same facts.
"""

import asyncio
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

import structlog

from bulkhead_operator.cluster.client import ApiClient, Fence
from bulkhead_operator.cluster.kinds import kind_of
from bulkhead_operator.cluster.port import EventType, Manifest, ObjectKey
from bulkhead_operator.errors import ClusterError

REPEAT_SECONDS: Final = 600.0
REMEMBERED: Final = 4096
WAITING: Final = 1000
PER_SECOND: Final = 10.0
LONGEST_NOTE: Final = 1024
"""The API server refuses longer ones."""

_API_VERSION: Final = "events.k8s.io/v1"
_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Occurrence:
    """One thing that happened to one of our objects."""

    key: ObjectKey
    uid: str
    type: EventType
    reason: str
    note: str


class Events:
    """Sends occurrences that are new."""

    def __init__(
        self,
        client: ApiClient,
        *,
        fence: Fence,
        instance: str,
        on_drop: Callable[[], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._client = client
        self._fence = fence
        self._instance = instance
        self._on_drop = on_drop
        self._clock = clock
        self._told: OrderedDict[tuple[ObjectKey, str], tuple[str, float]] = OrderedDict()
        self._waiting: asyncio.Queue[Occurrence] = asyncio.Queue(WAITING)

    def tell(self, occurrence: Occurrence) -> bool:
        """Queue an occurrence; tells whether it was new and there was room."""
        subject = (occurrence.key, occurrence.reason)
        note, told_at = self._told.get(subject, ("", float("-inf")))
        now = self._clock()
        if note == occurrence.note and now - told_at < REPEAT_SECONDS:
            return False
        if self._waiting.full():
            self._on_drop()
            return False
        self._told[subject] = (occurrence.note, now)
        self._told.move_to_end(subject)
        if len(self._told) > REMEMBERED:
            self._told.popitem(last=False)
        self._waiting.put_nowait(occurrence)
        return True

    async def run(self) -> None:
        """Send what waits until cancelled."""
        while True:
            occurrence = await self._waiting.get()
            try:
                await self._send(occurrence)
            except ClusterError as error:
                self._on_drop()
                _log.info("event not sent", reason=occurrence.reason, error=error.message)
            await asyncio.sleep(1 / PER_SECOND)

    async def _send(self, occurrence: Occurrence) -> None:
        namespace = occurrence.key.namespace or "default"
        path = kind_of(ObjectKey(_API_VERSION, "Event", namespace, "")).collection(namespace)
        await self._client.write(
            "POST", path, manifest(occurrence, namespace, self._instance), fence=self._fence
        )


def manifest(occurrence: Occurrence, namespace: str, instance: str) -> Manifest:
    """Return the Event as the API server takes it; cluster-scoped objects' go to `default`."""
    key = occurrence.key
    now = datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
    return {
        "apiVersion": _API_VERSION,
        "kind": "Event",
        "metadata": {"name": f"{key.name}.{secrets.token_hex(8)}", "namespace": namespace},
        "eventTime": now,
        "reportingController": "bulkhead.dev/operator",
        "reportingInstance": instance[:128],
        "type": occurrence.type,
        "reason": occurrence.reason,
        "action": "Reconcile",
        "note": occurrence.note[:LONGEST_NOTE],
        "regarding": {
            "apiVersion": key.api_version,
            "kind": key.kind,
            "name": key.name,
            "uid": occurrence.uid,
            **({"namespace": key.namespace} if key.namespace else {}),
        },
    }
