"""The least that PostgreSQL and Redis can be asked: one statement on a pooled connection."""

import asyncpg
from redis.asyncio import Redis

SCHEMA = """
CREATE TABLE IF NOT EXISTS bare_sessions (id text PRIMARY KEY, content text NOT NULL);
CREATE TABLE IF NOT EXISTS bare_messages (
    session_id text NOT NULL,
    sequence bigint GENERATED ALWAYS AS IDENTITY,
    content text NOT NULL,
    PRIMARY KEY (session_id, sequence)
)
"""


class BareDriver:
    """asyncpg's own pool and prepared statements, redis-py's own pool."""

    def __init__(self, pool: asyncpg.Pool, redis: Redis) -> None:
        self._pool = pool
        self._redis = redis

    async def create(self, session_id: str, content: str) -> None:
        """Insert one row."""
        await self._pool.execute("INSERT INTO bare_sessions VALUES ($1, $2)", session_id, content)

    async def load(self, session_id: str) -> object:
        """Get one value of Redis."""
        return await self._redis.get(session_id)

    async def resume(self, session_id: str) -> int:
        """Select fifty rows."""
        rows = await self._pool.fetch(
            "SELECT sequence, content FROM bare_messages WHERE session_id = $1 "
            "ORDER BY sequence DESC LIMIT 50",
            session_id,
        )
        return len(rows)

    async def save(self, session_id: str, content: str) -> None:
        """Insert one message."""
        await self._pool.execute(
            "INSERT INTO bare_messages (session_id, content) VALUES ($1, $2)", session_id, content
        )
