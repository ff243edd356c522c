"""Every state of an object that the API server showed, as kubectl, Argo CD and Flux saw it."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp

from bulkhead_operator.cluster.credentials import from_kubeconfig
from tests.support.api_observer import OURS, Object


@asynccontextmanager
async def recorded(kubeconfig: str, namespace: str, package: str) -> AsyncIterator[list[Object]]:
    """Record an AgentPackage that is there or will be; the list grows until the block ends."""
    credentials = from_kubeconfig(Path(kubeconfig))
    connector = aiohttp.TCPConnector(ssl=credentials.tls())
    timeout = aiohttp.ClientTimeout(total=None)
    seen: list[Object] = []
    async with aiohttp.ClientSession(
        credentials.server, connector=connector, timeout=timeout, read_bufsize=2**22
    ) as session:
        path = f"{OURS}/namespaces/{namespace}/agentpackages"
        task = asyncio.create_task(_follow(session, path, package, seen))
        try:
            yield seen
        finally:
            assert not task.done(), "the watch ended before its time"
            task.cancel()


async def _follow(session: aiohttp.ClientSession, path: str, name: str, seen: list[Object]) -> None:
    parameters = {"watch": "true", "fieldSelector": f"metadata.name={name}"}
    async with session.get(path, params=parameters) as response:
        response.raise_for_status()
        async for line in response.content:
            event = json.loads(line)
            if event["type"] in {"ADDED", "MODIFIED"}:
                seen.append(event["object"])
