"""Clients that keep talking while something is broken, and remember what they were promised."""

import asyncio
import time
from collections import Counter
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import aiohttp

from tests.support.deadline import until

EXECUTE = "/v1/agents/assistant/execute"
WAITED_SECONDS = 0.2
"""Between a refusal and the next try; clients that obey `Retry-After` wait longer."""


@dataclass
class Talker:
    """One client with one session; every message is another text, so each can be looked for."""

    name: str
    session_id: str | None = None
    acknowledged: list[str] = field(default_factory=list)
    refusals: list[tuple[int, str | None]] = field(default_factory=list)
    """Status and `Retry-After` of whatever was not a 200."""

    slowest: float = 0.0
    said: int = 0

    @property
    def answered(self) -> int:
        """Return how often it got an answer, whatever that was."""
        return len(self.acknowledged) + len(self.refusals)

    async def say(self, http: aiohttp.ClientSession) -> bool:
        """Send the next message; tell whether it was acknowledged."""
        self.said += 1
        message = f"{self.name} {self.said}"
        body = {"message": message} | ({"session_id": self.session_id} if self.session_id else {})
        started = time.monotonic()
        async with http.post(EXECUTE, json=body) as response:
            answer = await response.json(content_type=None)
        self.slowest = max(self.slowest, time.monotonic() - started)
        if response.status != 200:
            self.refusals.append((response.status, response.headers.get("Retry-After")))
            return False
        self.session_id = answer["session_id"]
        self.acknowledged.append(message)
        return True

    async def talk(self, http: aiohttp.ClientSession, end: asyncio.Event) -> None:
        """Go on until the event."""
        while not end.is_set():
            if not await self.say(http):
                await asyncio.sleep(WAITED_SECONDS)

    async def be_answered(self, http: aiohttp.ClientSession, seconds: float) -> None:
        """Try until a message is acknowledged; fail after the seconds."""
        await until(partial(self.say, http), f"{self.name} goes on", seconds)

    async def verdict(self, http: aiohttp.ClientSession) -> tuple[int, int]:
        """Return how many acknowledged messages are lost, and how many messages are doubled."""
        found = Counter(await self._heard(http))
        lost = sum(found[message] == 0 for message in self.acknowledged)
        return lost, sum(count > 1 for count in found.values())

    async def _heard(self, http: aiohttp.ClientSession) -> list[str]:
        found: list[dict[str, Any]] = []
        cursor: str | None = ""
        while cursor is not None:
            path = f"/v1/sessions/{self.session_id}/messages?limit=200"
            async with http.get(path + (f"&cursor={cursor}" if cursor else "")) as response:
                page = await response.json()
                assert response.status == 200, page
            found += page["data"]
            cursor = page["next_cursor"]
        assert all(item["role"] == ("user", "assistant")[i % 2] for i, item in enumerate(found))
        return [item["content"] for item in found if item["role"] == "user"]
