"""A provider behind the port: answers in parts, and the pass-through beside it."""

from collections.abc import AsyncIterator

from bulkhead_api.runtime_config import ProviderConfig
from bulkhead_runtime.models.accounting import Accounting
from bulkhead_runtime.models.errors import ModelError
from bulkhead_runtime.models.fast_lane.answer import AnswerReader
from bulkhead_runtime.models.fast_lane.connections import Connections
from bulkhead_runtime.models.fast_lane.passthrough import FastLanePassthrough
from bulkhead_runtime.models.fast_lane.upstream import Retries, Upstream, UpstreamStream
from bulkhead_runtime.models.port import Finished, ModelRequest, Part, Usage
from bulkhead_runtime.models.request_body import (
    bytes_of_text,
    limit_field,
    request_body,
)


class FastLaneClient:
    """Calls one OpenAI-compatible provider over the shared connections."""

    def __init__(
        self,
        provider: ProviderConfig,
        key: str | None,
        connections: Connections,
        retries: Retries | None = None,
    ) -> None:
        self._upstream = Upstream(provider, key, connections, retries or Retries())
        self._limit_name = limit_field(provider)
        self.accounting = Accounting(provider)
        self.passthrough = FastLanePassthrough(self._upstream, self.accounting, self._limit_name)

    async def stream(self, request: ModelRequest) -> AsyncIterator[Part]:
        """Yield the parts of the answer as they arrive; raise `ModelError` when it fails.

        Closing the iterator closes the connection, which ends the call at the provider.
        """
        body = request_body(request, self._limit_name)
        answer = AnswerReader(self._upstream.failures)
        stream = await self._upstream.open(body, request.deadline)
        try:
            while not answer.done and (events := await _next(stream, answer)) is not None:
                text = answer.read(events)
                if text is not None:
                    yield text
            if not answer.complete:
                raise self._upstream.failures.unavailable("it ended its answer early")
            await stream.settle()
        finally:
            stream.close()
        for call in answer.tool_calls():
            yield call
        yield self._usage(request, answer)
        yield Finished(answer.reason(), answer.model or body["model"])

    async def aclose(self) -> None:
        """Do nothing: connections are shared and closed by who shares them."""

    def _usage(self, request: ModelRequest, answer: AnswerReader) -> Usage:
        model = request.model.partition("/")[2]
        if answer.usage is not None:
            return self.accounting.counted(model, answer.usage)
        return self.accounting.bounded(model, bytes_of_text(request.messages), answer.output_bytes)


async def _next(stream: UpstreamStream, answer: AnswerReader) -> list[bytes] | None:
    try:
        return await stream.read()
    except ModelError:
        if answer.complete:
            return None
        raise
