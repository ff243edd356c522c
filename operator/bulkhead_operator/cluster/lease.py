"""One leader among the replicas: a Lease, held by writing to it, lost by the passing of time.

What counts is this machine's monotonic clock and whether the Lease changed since we last looked,
never the times written in it, so that clocks may differ. Whoever leads may write only until the
beginning of its last renewal plus the duration less a margin; a standby waits for the full
duration. The standby watches the Lease: a release is seen at once, without asking often.
"""

import asyncio
import random
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

import orjson
import structlog

from bulkhead_operator.backoff import Backoff
from bulkhead_operator.cluster.client import ApiClient, unfenced
from bulkhead_operator.cluster.kinds import kind_of, path_of
from bulkhead_operator.cluster.port import Manifest, ObjectKey
from bulkhead_operator.errors import ClusterError, Conflict, Gone, LeaseLost

API_VERSION: Final = "coordination.k8s.io/v1"
MARGIN_SHARE: Final = 0.2
"""Part of the duration in which the leader writes no more though nobody else may lead yet."""

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class LeaseTerms:
    """Which Lease, who we are, and for how many seconds it holds and is renewed."""

    namespace: str
    name: str
    identity: str
    duration: float
    renew_every: float

    @property
    def key(self) -> ObjectKey:
        """Return the key of the Lease."""
        return ObjectKey(API_VERSION, "Lease", self.namespace, self.name)


class Lease:
    """Acquires, holds and releases leadership; `remaining` is the fence of every write."""

    def __init__(
        self,
        client: ApiClient,
        terms: LeaseTerms,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._client = client
        self._terms = terms
        self._clock = clock
        self._write_until = float("-inf")
        self._live: Manifest | None = None
        self._seen_version = ""
        self._seen_at = 0.0
        self.heard = float("-inf")
        """When the API server last answered about the Lease."""

    def may_write(self) -> bool:
        """Tell whether nobody else can lead yet."""
        return self._clock() < self._write_until

    def remaining(self) -> float:
        """Return the seconds for which this process may write; raises `LeaseLost` after them."""
        seconds = self._write_until - self._clock()
        if seconds <= 0:
            raise LeaseLost("LeaseLost", "another replica leads, or may: nothing is written")
        return seconds

    async def acquire(self) -> None:
        """Wait until this process leads."""
        backoff = Backoff(0.5, self._terms.renew_every)
        while not self.may_write():
            try:
                await self._try_to_acquire()
                backoff.reset()
            except Conflict:
                continue
            except ClusterError as error:
                _log.warning("lease not reached", error=error.message)
                await asyncio.sleep(backoff.next())

    async def hold(self) -> None:
        """Renew until leadership is lost; raises `LeaseLost` then, in time to stop writing."""
        while True:
            wait = self._terms.renew_every * random.uniform(0.8, 1.0)  # noqa: S311 (spreads)
            await asyncio.sleep(min(wait, max(0.0, self._write_until - self._clock())))
            self.remaining()
            try:
                async with asyncio.timeout(self.remaining()):
                    await self._renew()
            except (ClusterError, TimeoutError) as error:
                if isinstance(error, LeaseLost):
                    raise
                _log.warning("lease not renewed", error=type(error).__name__)
                await asyncio.sleep(min(0.5, max(0.0, self._write_until - self._clock())))

    async def release(self) -> None:
        """Give leadership up, so that a standby takes over at once."""
        if not self.may_write() or self._live is None:
            return
        self._write_until = float("-inf")
        with suppress(ClusterError, TimeoutError):
            async with asyncio.timeout(3):
                await self._put({**self._spec(), "holderIdentity": "", "leaseDurationSeconds": 1})

    async def _try_to_acquire(self) -> None:
        live = await self._get()
        if live is None:
            await self._make_anew()
            return
        self._look(live)
        expires_in = self._expires_in(live)
        if expires_in <= 0:
            await self._take_over()
        else:
            await self._wait_for_change(expires_in)

    async def _make_anew(self) -> None:
        # Deleting the Lease does not stop a leader: it may write until its last renewal runs out.
        still_held = self._seen_at + self._terms.duration - self._clock()
        if self._seen_version and still_held > 0:
            await asyncio.sleep(min(still_held, self._terms.renew_every))
            return
        await self._create()

    async def _renew(self) -> None:
        try:
            await self._take_over()
        except (Conflict, Gone):
            live = await self._get()
            if live is None:
                await self._create()
                return
            if live["spec"].get("holderIdentity") != self._terms.identity:
                self._write_until = float("-inf")
                raise LeaseLost("LeaseLost", "another replica took the lease") from None
            # Our own renewal whose answer was lost, or somebody's annotation.
            self._live = live
            await self._take_over()

    async def _take_over(self) -> None:
        began = self._clock()
        self._live = await self._put(self._spec())
        self._led_since(began)

    async def _create(self) -> None:
        began = self._clock()
        body = {
            "apiVersion": API_VERSION,
            "kind": "Lease",
            "metadata": {"name": self._terms.name, "namespace": self._terms.namespace},
            "spec": self._spec(),
        }
        path = kind_of(self._terms.key).collection(self._terms.namespace)
        self._live = await self._client.write("POST", path, body, fence=unfenced)
        self._led_since(began)

    def _led_since(self, began: float) -> None:
        self.heard = self._clock()
        self._write_until = began + self._terms.duration * (1 - MARGIN_SHARE)

    async def _put(self, spec: Manifest) -> Manifest:
        assert self._live is not None
        body = {**self._live, "spec": spec}
        # Its resourceVersion guards it.
        return await self._client.write("PUT", path_of(self._terms.key), body, fence=unfenced)

    def _spec(self) -> Manifest:
        now = datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
        before = self._live["spec"] if self._live else {}
        ours = before.get("holderIdentity") == self._terms.identity
        transitions = int(before.get("leaseTransitions") or 0)
        return {
            "holderIdentity": self._terms.identity,
            "leaseDurationSeconds": max(1, round(self._terms.duration)),
            "acquireTime": before.get("acquireTime") if ours else now,
            "renewTime": now,
            "leaseTransitions": transitions if ours else transitions + 1,
        }

    async def _get(self) -> Manifest | None:
        try:
            live = await self._client.read(path_of(self._terms.key))
        except Gone:
            live = None
        self.heard = self._clock()
        return live

    def _look(self, live: Manifest) -> None:
        self._live = live
        if live["metadata"]["resourceVersion"] != self._seen_version:
            self._seen_version = live["metadata"]["resourceVersion"]
            self._seen_at = self._clock()

    def _expires_in(self, live: Manifest) -> float:
        spec = live.get("spec") or {}
        if not spec.get("holderIdentity"):
            return 0.0
        duration = max(self._terms.duration, float(spec.get("leaseDurationSeconds") or 0))
        return self._seen_at + duration - self._clock()

    async def _wait_for_change(self, seconds: float) -> None:
        assert self._live is not None
        jittered = seconds + random.uniform(0, 0.5)  # noqa: S311 (keeps standbys apart)
        query = {
            "fieldSelector": f"metadata.name={self._terms.name}",
            "resourceVersion": self._live["metadata"]["resourceVersion"],
        }
        path = kind_of(self._terms.key).collection(self._terms.namespace)
        with suppress(TimeoutError):
            async with asyncio.timeout(jittered), self._client.watch(path, query) as lines:
                async for line in lines:
                    event: dict[str, Any] = orjson.loads(line)
                    self.heard = self._clock()
                    if event["type"] != "MODIFIED":
                        return
                    self._look(event["object"])
                    if self._expires_in(event["object"]) <= 0:
                        return
