"""Rates over all replicas: how many of something happened in the last seconds.

Counted in steps of one second; the oldest step counts whole until it has left, so no window ever
holds more than the limit. The clock is that of Redis.
"""

from dataclasses import dataclass

from bulkhead_runtime.store.redis.link import Link, RedisAwayError

_ADMIT = """
local now = tonumber(redis.call('TIME')[1])
local limit, window, cost = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local steps = redis.call('HGETALL', KEYS[1])
local total, oldest = 0, now
for at = 1, #steps, 2 do
    local second = tonumber(steps[at])
    if second < now - window then redis.call('HDEL', KEYS[1], steps[at])
    else
        total = total + tonumber(steps[at + 1])
        if second < oldest then oldest = second end
    end
end
if total + cost > limit then return {0, limit - total, oldest + window + 1 - now} end
redis.call('HINCRBY', KEYS[1], now, cost)
redis.call('EXPIRE', KEYS[1], window + 2)
return {1, limit - total - cost, 0}
"""


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether it may happen, how many more may, and the seconds until one may again."""

    admitted: bool
    left: int
    retry_after: float


class SharedRates:
    """Counts of one organization, by name."""

    def __init__(self, link: Link) -> None:
        self._link = link

    async def admit(
        self, name: str, limit: int, *, seconds: int = 60, cost: int = 1
    ) -> Verdict | None:
        """Count `cost` of `name` unless that were more than `limit` in that many seconds.

        None when Redis is away: then a replica knows its own count only and admits its share,
        the limit divided by the replicas.
        """
        key = f"{self._link.prefix}rate:{name}"
        try:
            admitted, left, wait = await self._link.run(_ADMIT, key, limit, seconds, cost)
        except RedisAwayError:
            return None
        return Verdict(bool(admitted), max(0, left), float(wait))
