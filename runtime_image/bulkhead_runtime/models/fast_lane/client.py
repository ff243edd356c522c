"""A provider behind the port: answers in parts, and the pass-through beside it."""

from collections.abc import AsyncGenerator
from contextlib import closing

from bulkhead_api.runtime_config import ProviderConfig
from bulkhead_runtime.models.accounting import Accounting
from bulkhead_runtime.models.errors import ModelError
from bulkhead_runtime.models.fast_lane.answer import AnswerReader
from bulkhead_runtime.models.fast_lane.connections import Connections
from bulkhead_runtime.models.fast_lane.moderation import FastLaneModerator
from bulkhead_runtime.models.fast_lane.passthrough import FastLanePassthrough
from bulkhead_runtime.models.fast_lane.upstream import Upstream, UpstreamStream
from bulkhead_runtime.models.port import Finished, Meter, ModelRequest, Part
from bulkhead_runtime.models.prices import PriceBook
from bulkhead_runtime.models.request_body import limit_field, request_body


class FastLaneClient:
    """Calls one OpenAI-compatible provider over the shared connections."""

    def __init__(
        self, provider: ProviderConfig, key: str | None, connections: Connections, prices: PriceBook
    ) -> None:
        self._upstream = Upstream(provider, key, connections)
        self._limit_name = limit_field(provider)
        self.accounting = Accounting(prices)
        self.passthrough = FastLanePassthrough(self._upstream, self.accounting, self._limit_name)
        self.moderator = FastLaneModerator(provider, key, connections)

    async def stream(self, request: ModelRequest, meter: Meter) -> AsyncGenerator[Part, None]:
        """Yield the parts of the answer as they arrive; raise `ModelError` when it fails.

        Closing the iterator closes the connection, which ends the call at the provider.
        """
        body = request_body(request, self._limit_name)
        answer = AnswerReader(self._upstream.failures, request.max_output_tokens)
        try:
            with closing(await self._upstream.open(body, request, meter)) as stream:
                while not answer.done and (events := await _next(stream, answer)) is not None:
                    text = answer.read(events)
                    if text is not None:
                        meter.begun = True
                        yield text
                if not answer.complete:
                    raise self._upstream.failures.unavailable("it ended its answer early")
                stream.settle()
        finally:
            usage = self.accounting.usage(request, answer.usage, answer.output_bytes)
            if meter.sent:
                meter.usage = usage
        for call in answer.tool_calls():
            meter.begun = True
            yield call
        yield usage
        yield Finished(answer.reason(), answer.model or body["model"])


async def _next(stream: UpstreamStream, answer: AnswerReader) -> bytes | None:
    try:
        return await stream.read()
    except ModelError:
        if answer.complete:
            return None
        raise
