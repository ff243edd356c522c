"""A provider's stream handed on with the least work: one write per read, with our id and model."""

from contextlib import closing
from typing import Any

from bulkhead_runtime.models.accounting import Accounting
from bulkhead_runtime.models.errors import ModelError
from bulkhead_runtime.models.fast_lane.reframing import Reframing
from bulkhead_runtime.models.fast_lane.upstream import Upstream, UpstreamStream
from bulkhead_runtime.models.port import ByteRequest, Meter, Write


class FastLanePassthrough:
    """Streams chat completions of one provider to a client."""

    def __init__(self, upstream: Upstream, accounting: Accounting, limit_name: str) -> None:
        self._upstream = upstream
        self._accounting = accounting
        self._limit_name = limit_name

    async def __call__(self, request: ByteRequest, write: Write, meter: Meter) -> None:
        """Stream one answer; raise `ModelError` when it fails or upstream ends it early."""
        body = self._asked(request)
        frames = Reframing(request, self._upstream.failures)
        try:
            with closing(await self._upstream.open(body, request, meter)) as stream:
                await _forward(stream, frames, write, meter)
        finally:
            if meter.sent:
                meter.usage = self._accounting.usage(request, frames.usage, frames.output_bytes)
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


async def _forward(stream: UpstreamStream, frames: Reframing, write: Write, meter: Meter) -> None:
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
    stream.settle()
