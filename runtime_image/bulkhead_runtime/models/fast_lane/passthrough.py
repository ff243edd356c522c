"""A provider's stream handed on with the least work: one decode and one write per read.

Only the answer's id and the model's name become ours; nothing is modelled, so that fields which
nobody here knows reach the client as they are.
"""

from typing import Any, Final

import orjson

from bulkhead_runtime.models.accounting import Accounting
from bulkhead_runtime.models.counting import input_bound
from bulkhead_runtime.models.errors import ModelError
from bulkhead_runtime.models.failures import Failures
from bulkhead_runtime.models.fast_lane.answer import (
    bytes_of_delta,
    decoded_chunk,
    require_bounded,
    usage_of,
)
from bulkhead_runtime.models.fast_lane.events import DONE
from bulkhead_runtime.models.fast_lane.upstream import Upstream, UpstreamStream
from bulkhead_runtime.models.port import ByteRequest, Meter, Usage, Write

_DONE_FRAME: Final = b"data: " + DONE + b"\n\n"


class FastLanePassthrough:
    """Streams chat completions of one provider to a client."""

    def __init__(self, upstream: Upstream, accounting: Accounting, limit_name: str) -> None:
        self._upstream = upstream
        self._accounting = accounting
        self._limit_name = limit_name

    async def __call__(self, request: ByteRequest, write: Write, meter: Meter) -> None:
        """Stream one answer; raise `ModelError` when it fails or upstream ends it early."""
        body = self._asked(request)
        frames = _Reframing(request, self._upstream.failures)
        try:
            async with self._upstream.open(body, request, meter) as stream:
                await _forward(stream, frames, write, meter)
        finally:
            if meter.sent:
                meter.usage = self._usage(request, frames)
        if not frames.done:
            raise self._upstream.failures.unavailable("it ended its answer early")

    def _asked(self, request: ByteRequest) -> dict[str, Any]:
        body = {
            **request.body,
            "model": request.model.partition("/")[2],
            "stream": True,
            "stream_options": {"include_usage": True},
        }
        # Clients write either name of the limit; the provider may know only one.
        body.pop("max_completion_tokens", None)
        body.pop("max_tokens", None)
        body[self._limit_name] = request.max_output_tokens
        return body

    def _usage(self, request: ByteRequest, frames: "_Reframing") -> Usage:
        name = request.model.partition("/")[2]
        if frames.usage is not None:
            return self._accounting.counted(name, frames.usage)
        return self._accounting.bounded(
            name, input_bound(request), frames.output_bytes, request.max_output_tokens
        )


async def _forward(
    stream: UpstreamStream, frames: "_Reframing", write: Write, meter: Meter
) -> None:
    while not frames.done:
        try:
            events = await stream.read()
        except ModelError:
            if not frames.finished:
                raise
            events = None
        data = frames.of(events) if events is not None else frames.at_end()
        if data:
            meter.begun = True
            await write(data)
        if events is None:
            return
    await stream.settle()


class _Reframing:
    """Turns reads into frames that carry our id and model, and counts on the way."""

    def __init__(self, request: ByteRequest, failures: Failures) -> None:
        self.finished = False
        self.done = False
        self.usage: tuple[int, int] | None = None
        self.output_bytes = 0
        self._model = request.model
        self._id = request.answer_id
        self._include_usage = request.include_usage
        self._max_output_tokens = request.max_output_tokens
        self._failures = failures

    def at_end(self) -> bytes:
        """Return the end that is ours to write where upstream finished without [DONE]."""
        self.done = self.finished
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
        require_bounded(self.output_bytes, self._max_output_tokens, self._failures)
        if not frames:
            return b""
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
                    self.finished = True
        except AttributeError:
            raise self._failures.garbage("a chunk that is no part of a chat completion") from None
        if chunk.get("usage") is None:
            return True
        self.usage = usage_of(chunk) or self.usage
        if not self._include_usage:
            del chunk["usage"]
        return self._include_usage or bool(choices)
