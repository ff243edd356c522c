"""Sessions as most services keep them: one JSON document, a connection for every operation."""

import json
from typing import Any

import asyncpg
from redis.asyncio import Redis

_DAY = 24 * 3600

SCHEMA = """
CREATE TABLE IF NOT EXISTS documents (
    id text PRIMARY KEY,
    document jsonb NOT NULL,
    updated_at timestamptz NOT NULL DEFAULT now()
)
"""


class SessionDocuments:
    """Writes both stores, reads Redis first."""

    def __init__(self, dsn: str, address: str) -> None:
        self._dsn = dsn
        self._address = address

    async def prepare(self) -> None:
        """Make the table."""
        await self._execute(SCHEMA)

    async def create(self, session_id: str) -> None:
        """Store an empty session."""
        await self.write(session_id, {"id": session_id, "status": "idle", "messages": []})

    async def load(self, session_id: str) -> dict[str, Any]:
        """Return a session from Redis, from PostgreSQL where it is not there."""
        async with Redis.from_url(self._address) as redis:
            text = await redis.get(session_id)
        return await self.resume(session_id) if text is None else json.loads(text)

    async def resume(self, session_id: str) -> dict[str, Any]:
        """Return a session from PostgreSQL."""
        connection = await asyncpg.connect(self._dsn)
        try:
            text = await connection.fetchval(
                "SELECT document FROM documents WHERE id = $1", session_id
            )
        finally:
            await connection.close()
        document: dict[str, Any] = json.loads(text)
        return document

    async def save(self, session_id: str, messages: list[dict[str, str]]) -> None:
        """Add messages to a session."""
        document = await self.load(session_id)
        document["messages"] += messages
        await self.write(session_id, document)

    async def write(self, session_id: str, document: dict[str, Any]) -> None:
        """Store a whole session in both."""
        text = json.dumps(document)
        async with Redis.from_url(self._address) as redis:
            await redis.set(session_id, text, ex=_DAY)
        await self._execute(
            "INSERT INTO documents (id, document) VALUES ($1, $2) ON CONFLICT (id) "
            "DO UPDATE SET document = excluded.document, updated_at = now()",
            session_id,
            text,
        )

    async def _execute(self, statement: str, *values: str) -> None:
        connection = await asyncpg.connect(self._dsn)
        try:
            await connection.execute(statement, *values)
        finally:
            await connection.close()
