"""Reads server-sent events as a client does."""

import json
from typing import Any

import aiohttp


async def events(response: aiohttp.ClientResponse) -> list[tuple[str, Any]]:
    """All named events of a stream that ends."""
    found = []
    for block in (await response.text()).split("\n\n"):
        fields = dict(
            line.split(": ", 1) for line in block.splitlines() if not line.startswith(":")
        )
        if "event" in fields:
            found.append((fields["event"], json.loads(fields["data"])))
    return found


async def chunks(response: aiohttp.ClientResponse) -> list[Any]:
    """All frames of a chat completion's stream, `[DONE]` as text."""
    blocks = [block for block in (await response.text()).split("\n\n") if block.startswith("data")]
    frames = [block.removeprefix("data: ") for block in blocks]
    return [frame if frame == "[DONE]" else json.loads(frame) for frame in frames]
