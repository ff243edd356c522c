"""Tenants who keep talking while something is done to their runtime."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import aiohttp

from tests.support.cluster import Endpoint

_PAUSE_SECONDS = 0.1
"""Before somebody asks again who was failed: a refusal comes at once, and takes no time either."""


@dataclass
class Talk:
    """What the tenants saw: every failure by its text, and which version answered."""

    answered: int = 0
    streamed: int = 0
    failures: list[str] = field(default_factory=list)
    versions: list[str] = field(default_factory=list)


@asynccontextmanager
async def talking(
    endpoint: Endpoint, *, tenants: int = 4, streams: int = 2, keep_alive: bool = True
) -> AsyncIterator[Talk]:
    """Talk without a pause, new sessions every time, until the block ends."""
    talk = Talk()
    stopping = asyncio.Event()
    connector = aiohttp.TCPConnector(force_close=not keep_alive)
    headers = {"Authorization": f"Bearer {endpoint.key}"}
    timeout = aiohttp.ClientTimeout(total=30)
    async with (
        aiohttp.ClientSession(
            endpoint.url, headers=headers, connector=connector, timeout=timeout
        ) as session,
        asyncio.TaskGroup() as group,
    ):
        for _ in range(tenants):
            group.create_task(_ask(session, talk, stopping))
        for _ in range(streams):
            group.create_task(_listen(session, talk, stopping))
        try:
            yield talk
        finally:
            stopping.set()


async def _ask(session: aiohttp.ClientSession, talk: Talk, stopping: asyncio.Event) -> None:
    while not stopping.is_set():
        try:
            async with session.post(
                "/v1/agents/assistant/execute", json={"message": "Hello?"}
            ) as response:
                answer = await response.json()
                if response.status != 200:
                    await _failed(talk, f"{response.status}: {answer}")
                    continue
        except (aiohttp.ClientError, TimeoutError) as error:
            await _failed(talk, repr(error))
            continue
        talk.answered += 1
        talk.versions.append(answer["version"])


async def _listen(session: aiohttp.ClientSession, talk: Talk, stopping: asyncio.Event) -> None:
    while not stopping.is_set():
        try:
            async with session.post(
                "/v1/agents/assistant/execute/stream", json={"message": "Tell me a story."}
            ) as response:
                text = (await response.read()).decode()
        except (aiohttp.ClientError, TimeoutError) as error:
            await _failed(talk, f"stream: {error!r}")
            continue
        if response.status != 200 or not _whole(text):
            await _failed(talk, f"stream: {response.status}, cut after: {text[-200:]}")
            continue
        talk.streamed += 1


async def _failed(talk: Talk, why: str) -> None:
    talk.failures.append(why)
    await asyncio.sleep(_PAUSE_SECONDS)


def _whole(text: str) -> bool:
    """Tell whether the stream ended with its `done` event."""
    events = [block for block in text.strip().split("\n\n") if block.startswith("event:")]
    if not events or not events[-1].startswith("event: done"):
        return False
    data = events[-1].split("data:", 1)[1]
    return bool(json.loads(data)["status"])
