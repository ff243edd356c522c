"""Sessions as readers see them, kept for a day: the head, and the tail that the next turn needs.

An entry carries the revision of its session and gives way to a newer one only, so a reader that
was slow to refill never puts an old row over a new one. It carries the time at which it was put:
who was not connected then does not believe it, for Redis may have forgotten a newer one since. The
tail carries the number of messages that it was read at; messages are only ever appended, so the
number tells whether it is whole.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from bulkhead_runtime.models.port import ModelMessage
from bulkhead_runtime.store.postgres import decoding, encoding
from bulkhead_runtime.store.postgres.decoding import Tail
from bulkhead_runtime.store.postgres.lane import Epoch
from bulkhead_runtime.store.redis.link import Link

SECONDS = 24 * 3600
MAX_TAIL_BYTES = 256 * 1024
"""A longer tail is left to PostgreSQL."""

GONE = 2**53 - 1
"""The revision of an entry that nothing may take the place of."""

# Keeps an entry unless there is a newer one; an empty head removes the head, an empty tail leaves
# the one there is. Whoever waits for the session is told in the same step.
_PUT = """
local held = redis.call('HGET', KEYS[1], 'revision')
if held and tonumber(held) > tonumber(ARGV[1]) then return 0 end
redis.call('HSET', KEYS[1], 'revision', ARGV[1])
if ARGV[2] == '' then redis.call('HDEL', KEYS[1], 'head')
else
    local now = redis.call('TIME')
    redis.call('HSET', KEYS[1], 'head', ARGV[2], 'at', string.format('%s%06d', now[1], now[2]))
end
if ARGV[3] ~= '' then redis.call('HSET', KEYS[1], 'tail', ARGV[3]) end
redis.call('EXPIRE', KEYS[1], ARGV[4])
if ARGV[5] ~= '' then redis.call('PUBLISH', ARGV[5], '') end
return 1
"""


@dataclass(frozen=True, slots=True)
class CachedTail:
    """All messages of a session from the sequence `since` on, as of `messages` messages."""

    messages: int
    since: int
    tail: Tail

    def reaches(self, length: int, summary_until: int) -> bool:
        """Tell whether this is all that a turn of that tail length would load."""
        return len(self.tail) >= length or self.since <= summary_until + 1


@dataclass(frozen=True, slots=True)
class Entry:
    """What is cached of a session: its columns, and its encoded tail, empty where there is none."""

    head: list[Any]
    tail: bytes


class SessionCache:
    """Entries of one organization, in the epoch that PostgreSQL is in."""

    def __init__(self, link: Link, epoch: Epoch) -> None:
        self._link = link
        self._epoch = epoch

    async def get(self, session_id: str) -> Entry | None:
        """Return what is cached, None where nothing is; raise `RedisAwayError`."""
        head, tail, at = await self._link.ask("HMGET", self._key(session_id), "head", "tail", "at")
        since = self._link.connected_since
        if head is None or since is None or int(at or 0) < since:
            return None
        return Entry(orjson.loads(head), tail or b"")

    async def put(self, head: Sequence[Any], tail: bytes, *, tell: str = "") -> None:
        """Keep a session's columns and, unless it is empty, its tail; raise `RedisAwayError`.

        `tell` is a topic whose watchers are woken.
        """
        channel = self._link.prefix + tell if tell else ""
        revision = int(head[decoding.REVISION])
        await self._write(str(head[0]), revision, orjson.dumps(list(head)), tail, channel)

    async def hide(self, session_id: str, revision: int) -> None:
        """Keep that a session has a newer revision than any entry; raise `RedisAwayError`."""
        await self._write(session_id, revision, b"", b"", "")

    async def _write(
        self, session_id: str, revision: int, head: bytes, tail: bytes, channel: str
    ) -> None:
        values = (revision, head, tail, SECONDS, channel)
        await self._link.run(_PUT, self._key(session_id), *values)

    def _key(self, session_id: str) -> str:
        return f"{self._link.prefix}session:{self._epoch.number}:{session_id}"


def encode_tail(cached: CachedTail) -> bytes:
    """Return what is kept of a tail: nothing of one that is too long."""
    rows = [
        (
            sequence,
            message.role,
            message.content,
            encoding.calls(message.tool_calls),
            message.tool_call_id,
        )
        for sequence, message in reversed(cached.tail)
    ]
    held = {"messages": cached.messages, "since": cached.since, "rows": rows}
    return _kept(encoding.encode(held))


def tail_of_rows(messages: int, since: int, rows: bytes) -> bytes:
    """Return what is kept of a tail whose rows PostgreSQL wrote, newest first."""
    return _kept(b'{"messages":%d,"since":%d,"rows":%b}' % (messages, since, rows))


def decode_tail(text: bytes) -> CachedTail:
    """Return the tail that `encode_tail` encoded."""
    held = orjson.loads(text)
    return CachedTail(held["messages"], held["since"], decoding.tail(held["rows"]))


def tail_of(messages: Sequence[ModelMessage], since: int, known: int) -> CachedTail:
    """Return the tail that `messages`, from the sequence `since` on, are of a session."""
    return CachedTail(known, since, tuple(enumerate(messages, start=since)))


def _kept(encoded: bytes) -> bytes:
    return encoded if len(encoded) <= MAX_TAIL_BYTES else b""
