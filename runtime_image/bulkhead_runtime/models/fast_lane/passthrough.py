"""A provider's stream handed on with the least work: one decode and one write per read.

Only the answer's id and the model's name become ours; nothing is modelled, so that fields which
nobody here knows reach the client as they are.
"""

from collections.abc import Mapping
from typing import Any, Final

import orjson

from bulkhead_runtime.models.accounting import Accounting
from bulkhead_runtime.models.errors import ModelError
from bulkhead_runtime.models.failures import Failures
from bulkhead_runtime.models.fast_lane.answer import (
    MAX_ANSWER_BYTES,
    bytes_of_delta,
    decoded_chunk,
    usage_of,
)
from bulkhead_runtime.models.fast_lane.events import DONE
from bulkhead_runtime.models.fast_lane.upstream import Upstream, UpstreamStream
from bulkhead_runtime.models.port import PassthroughResult, Usage, Write

_DONE_FRAME: Final = b"data: " + DONE + b"\n\n"


class FastLanePassthrough:
    """Streams chat completions of one provider to a client."""

    def __init__(self, upstream: Upstream, accounting: Accounting, limit_name: str) -> None:
        self._upstream = upstream
        self._accounting = accounting
        self._limit_name = limit_name

    async def __call__(
        self,
        body: Mapping[str, Any],
        *,
        model: str,
        answer_id: str,
        include_usage: bool,
        deadline: float,
        write: Write,
    ) -> PassthroughResult:
        """Stream one answer; return when upstream has ended it. Raises `ModelError`."""
        name = model.partition("/")[2]
        asked = self._asked(body, name)
        frames = _Reframing(model, answer_id, include_usage, self._upstream.failures)
        stream = await self._upstream.open(asked, deadline)
        try:
            await _forward(stream, frames, write)
        finally:
            stream.close()
        return PassthroughResult(self._usage(asked, name, frames), frames.done)

    def _asked(self, body: Mapping[str, Any], name: str) -> dict[str, Any]:
        asked = {**body, "model": name, "stream": True, "stream_options": {"include_usage": True}}
        # Clients write either name of the limit; the provider may know only one.
        limits = (asked.pop("max_completion_tokens", None), asked.pop("max_tokens", None))
        limit = next((limit for limit in limits if limit is not None), None)
        if limit is not None:
            asked[self._limit_name] = limit
        return asked

    def _usage(self, asked: dict[str, Any], name: str, frames: "_Reframing") -> Usage:
        if frames.usage is not None:
            return self._accounting.counted(name, frames.usage)
        sent = len(orjson.dumps(asked["messages"]))
        return self._accounting.bounded(name, sent, frames.output_bytes)


async def _forward(stream: UpstreamStream, frames: "_Reframing", write: Write) -> None:
    while not frames.done:
        try:
            events = await stream.read()
        except ModelError:
            if not frames.begun:
                raise
            events = None
        data = frames.of(events) if events is not None else frames.at_end()
        if data:
            await write(data)
        if events is None:
            return
    await stream.settle()


class _Reframing:
    """Turns reads into frames that carry our id and model, and counts on the way."""

    def __init__(self, model: str, answer_id: str, include_usage: bool, failures: Failures) -> None:
        self.begun = False
        self.done = False
        self.usage: tuple[int, int] | None = None
        self.output_bytes = 0
        self._finished = False
        self._model = model
        self._id = answer_id
        self._include_usage = include_usage
        self._failures = failures

    def at_end(self) -> bytes:
        """Return the end that is ours to write where upstream finished without [DONE]."""
        self.done = self._finished
        return _DONE_FRAME if self.done else b""

    def of(self, events: list[bytes]) -> bytes:
        """Return the frames for the client, which may be none."""
        frames: list[bytes] = []
        for data in events:
            if data == DONE:
                self.done = True
                frames.append(DONE)
                break
            chunk = decoded_chunk(data, self._failures)
            if self._keeps(chunk):
                chunk["id"] = self._id
                chunk["model"] = self._model
                frames.append(orjson.dumps(chunk))
        if self.output_bytes > MAX_ANSWER_BYTES:
            raise self._failures.garbage(f"an answer of more than {MAX_ANSWER_BYTES} bytes")
        if not frames:
            return b""
        self.begun = True
        return b"data: " + b"\n\ndata: ".join(frames) + b"\n\n"

    def _keeps(self, chunk: dict[str, Any]) -> bool:
        """Note what a chunk tells and say whether the client is to see it."""
        choices = chunk.get("choices")
        if not isinstance(choices, list):
            raise self._failures.garbage("a chunk that is no part of a chat completion")
        try:
            for choice in choices:
                self.output_bytes += bytes_of_delta(choice.get("delta") or {})
                if choice.get("finish_reason"):
                    self._finished = True
        except AttributeError:
            raise self._failures.garbage("a chunk that is no part of a chat completion") from None
        if chunk.get("usage") is None:
            return True
        self.usage = usage_of(chunk) or self.usage
        if not self._include_usage:
            del chunk["usage"]
        return self._include_usage or bool(choices)
