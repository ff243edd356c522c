"""The shared store with Redis in front: reads come from the cache, writes go through it.

PostgreSQL decides everything. Before a turn's end is written, the cache has been told that what it
holds is old; where it could not be told, the same write ends the epoch of all entries. What the
turn left is cached after it was acknowledged: until then readers ask PostgreSQL.
"""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Coroutine
from typing import Any

import msgspec

from bulkhead_runtime.store import states
from bulkhead_runtime.store.port import BeginTurn, NewSession, PoolBounds, Session, Swept
from bulkhead_runtime.store.postgres import conversations, decoding, encoding
from bulkhead_runtime.store.postgres.pool import Pool
from bulkhead_runtime.store.postgres.signals import claim_topic, session_topic
from bulkhead_runtime.store.postgres.store import PostgresStore
from bulkhead_runtime.store.redis.link import Link, RedisAwayError
from bulkhead_runtime.store.redis.rates import SharedRates
from bulkhead_runtime.store.redis.sessions import (
    GONE,
    CachedTail,
    SessionCache,
    decode_tail,
    encode_tail,
    tail_of,
    tail_of_rows,
)
from bulkhead_runtime.store.redis.signals import Notifications
from bulkhead_runtime.store.spending import (
    Begin,
    Begun,
    BudgetRefused,
    ClaimRefused,
    Finish,
    Finished,
)

EPOCH_SECONDS = 5.0
"""How long a replica that asks PostgreSQL nothing believes in its epoch."""

TAIL_MESSAGES = 50
REMEMBERED_TAILS = 200
"""Tails that were read with a session's head and wait for its turn to begin."""

_ANY_AGE = PoolBounds("", 0, None)
_LOAD = b"SELECT bulkhead.read_session($1, $2)"


class _Loaded(msgspec.Struct):
    """What PostgreSQL tells of a session; its tail is kept as it comes until a turn needs it."""

    head: list[Any]
    tail: msgspec.Raw
    epoch: int


_loaded = msgspec.json.Decoder(_Loaded)


class CachedStore(PostgresStore):
    """Keeps everything in PostgreSQL and what is read often in Redis, too."""

    def __init__(self, pool: Pool, organization: str, link: Link) -> None:
        super().__init__(pool, organization)
        self._link = link
        self._cache = SessionCache(link, self._epoch)
        self._tails: OrderedDict[str, tuple[bytes, int]] = OrderedDict()
        self._writing: set[asyncio.Task[None]] = set()
        self._hiding: dict[str, asyncio.Task[None]] = {}
        self.signals = Notifications(link)
        self.rates = SharedRates(link)

    @property
    def cache_away(self) -> bool:
        """Tell whether Redis does not answer, so that PostgreSQL alone serves."""
        return self._link.away

    async def session(self, session_id: str, principal: str | None, bounds: PoolBounds) -> Session:
        """Return a session; raise a 404 `Problem` for any that is not this principal's."""
        return conversations.visible(await self._head(session_id), principal, bounds)

    async def create(self, new: NewSession, bounds: PoolBounds) -> Session:
        """Store a session without any turn; durable when this returns."""
        head = await self._create(new, bounds)
        self._soon(self._put(head, encode_tail(tail_of((), 1, 0))))
        return decoding.session(head, bounds)

    async def delete(self, session_id: str, principal: str | None) -> None:
        """Archive a session: it reads as none from now on, whatever turn it is in."""
        conversations.visible(await self._head(session_id), principal, _ANY_AGE)
        epoch = self._epoch.number
        await self._hide(session_id, GONE)
        await super().delete(session_id, principal)
        if self._epoch.number != epoch:
            # Another replica may have cached it since, in an epoch unheard of before.
            await self._hide(session_id, GONE)

    async def begin(
        self, request: Begin, bounds: PoolBounds
    ) -> Begun | ClaimRefused | BudgetRefused:
        """Start work, or say why not; raises the same `Problem`s as a session that cannot run."""
        turn = request.turn
        known = None if turn is None else self._tail_for(turn)
        item = encoding.begin(request, bounds, None if known is None else known.messages)
        answer = await self._begin(request, item, bounds)
        begun = decoding.begun(answer, request, () if known is None else known.tail)
        if isinstance(begun, Begun) and begun.turn is not None:
            session_id = begun.turn.session_id
            hiding = self._soon(self._hide(session_id, answer["turn"]["revision"]))
            self._hiding[session_id] = hiding
            hiding.add_done_callback(lambda _: self._hiding.pop(session_id, None))
        return begun

    async def finish(self, request: Finish, bounds: PoolBounds) -> Finished:
        """Store how work ended; durable when this returns. Repeating it changes nothing."""
        changed = _session_of(request)
        item = encoding.finish(request, bounds, changed)
        if changed is not None and (hiding := self._hiding.get(changed)) is not None:
            await hiding
        answer = await self._finish(request, item, bounds)
        if answer["head"] is not None:
            topic = session_topic(str(changed))
            putting = self._soon(self._put(answer["head"], _tail_after(request, answer), topic))
            if request.turn is None:
                # No turn hid what a summary changes.
                await putting
        if request.claim is not None:
            self._soon(self.signals.tell(claim_topic(request.claim)))
        return decoding.finished(answer, request)

    async def sweep(self, bounds: PoolBounds) -> Swept:
        """Archive what expired and remove what is past the retention, a bounded number of each."""
        swept = await super().sweep(bounds)
        for session in swept.expired:
            await self._hide(session.id, GONE)
        return swept

    async def close(self) -> None:
        """Write what waits and close every connection."""
        await asyncio.gather(*self._writing)
        await super().close()
        await self._link.close()

    async def _head(self, session_id: str) -> list[Any] | None:
        return await self._cached(session_id) or await self._load(session_id)

    async def _cached(self, session_id: str) -> list[Any] | None:
        quiet = time.monotonic() - self._epoch.learned_at
        if self._epoch.stale or quiet > EPOCH_SECONDS:
            return None
        try:
            entry = await self._cache.get(session_id)
        except RedisAwayError:
            return None
        if entry is None:
            return None
        if entry.tail:
            self._remember(session_id, entry.head, entry.tail)
        return entry.head

    async def _load(self, session_id: str) -> list[Any] | None:
        values = (session_id.encode(), b"%d" % TAIL_MESSAGES)
        text = await self._pool.value(_LOAD, values)
        if text is None:
            return None
        found = _loaded.decode(text)
        self._epoch.learn(found.epoch, voided=0)
        head = found.head
        messages, until = head[decoding.MESSAGES], head[decoding.SUMMARY_UNTIL]
        since = max(until, messages - TAIL_MESSAGES) + 1
        tail = tail_of_rows(messages, since, bytes(found.tail))
        self._remember(session_id, head, tail)
        self._soon(self._put(head, tail))
        return head

    def _remember(self, session_id: str, head: list[Any], tail: bytes) -> None:
        self._tails[session_id] = (tail, head[decoding.SUMMARY_UNTIL])
        self._tails.move_to_end(session_id)
        if len(self._tails) > REMEMBERED_TAILS:
            self._tails.popitem(last=False)

    def _tail_for(self, turn: BeginTurn) -> CachedTail | None:
        """Return the tail that was read lately where it is all that the turn would load."""
        encoded, summary_until = self._tails.pop(turn.session_id, (b"", 0))
        if not encoded:
            return None
        tail = decode_tail(encoded)
        return tail if tail.reaches(turn.tail, summary_until) else None

    async def _put(self, head: list[Any], tail: bytes, tell: str = "") -> None:
        """Cache a session, unless a turn holds it: its end hides only what was there before."""
        if head[decoding.STATUS] in states.RUNNING:
            return
        try:
            await self._cache.put(head, tail, tell=tell)
        except RedisAwayError:
            self._epoch.void()

    async def _hide(self, session_id: str, revision: int) -> None:
        try:
            await self._cache.hide(session_id, revision)
        except RedisAwayError:
            self._epoch.void()

    def _soon(self, writing: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Write to Redis while the caller goes on: what is not there yet is read elsewhere."""
        task = asyncio.create_task(writing)
        self._writing.add(task)
        task.add_done_callback(self._writing.discard)
        return task


def _session_of(request: Finish) -> str | None:
    """Return the session that a finish changes."""
    if request.turn is not None:
        return request.turn.turn.session_id
    return None if request.summary is None else request.summary.session_id


def _tail_after(request: Finish, answer: Any) -> bytes:
    """Return the tail that the next turn begins with, nothing where this turn added nothing."""
    if request.turn is None or answer["turn"] != "stored":
        return b""
    turn, added = request.turn.turn, request.turn.messages
    messages = (*turn.history, *added)[-TAIL_MESSAGES:]
    known = answer["head"][decoding.MESSAGES]
    return encode_tail(tail_of(messages, known - len(messages) + 1, known))
