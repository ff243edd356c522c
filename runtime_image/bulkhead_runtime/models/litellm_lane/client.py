"""A provider that litellm translates for, behind the port."""

import asyncio
import time
from collections.abc import AsyncGenerator
from typing import Final

import msgspec

from bulkhead_api.runtime_config import ProviderConfig
from bulkhead_runtime.models.accounting import Accounting, counts_of
from bulkhead_runtime.models.errors import ModelError
from bulkhead_runtime.models.failures import Failures
from bulkhead_runtime.models.litellm_lane import wire
from bulkhead_runtime.models.litellm_lane.child import ChildCall
from bulkhead_runtime.models.litellm_lane.process import LiteLLMProcess
from bulkhead_runtime.models.port import (
    Finished,
    Meter,
    ModelRequest,
    Part,
    TextDelta,
    ToolCall,
    Usage,
)
from bulkhead_runtime.models.prices import PriceBook
from bulkhead_runtime.models.request_body import request_body

OPTIONS: Final = frozenset(
    {
        "frequency_penalty",
        "logit_bias",
        "parallel_tool_calls",
        "presence_penalty",
        "reasoning_effort",
        "response_format",
        "seed",
        "stop",
        "tool_choice",
        "top_p",
        "verbosity",
    }
)
"""litellm takes addresses, keys and files by further names, which no caller may set."""


class LiteLLMClient:
    """Calls one provider through the litellm process."""

    def __init__(
        self,
        provider: ProviderConfig,
        key: str | None,
        process: LiteLLMProcess,
        prices: PriceBook,
    ) -> None:
        self._provider = provider
        self._key = key
        self._process = process
        self._failures = Failures(provider.name, key)
        self._accounting = Accounting(prices)

    async def stream(self, request: ModelRequest, meter: Meter) -> AsyncGenerator[Part, None]:
        """Yield the parts of the answer as they arrive; raise `ModelError` when it fails.

        Closing the iterator cancels the call at the provider.
        """
        output_bytes = 0
        message: wire.OfCall | None = None
        try:
            async with self._process.call(self._start(request), request.deadline) as call:
                meter.sent = True
                while not isinstance(message := await self._next(call, request), wire.Ended):
                    part = self._part(message, request)
                    output_bytes += _bytes_of(part)
                    meter.begun = True
                    yield part
        finally:
            if isinstance(message, wire.Failed):
                meter.sent = meter.begun or _may_have_worked(message)
            usage = self._usage(request, message, output_bytes)
            if meter.sent:
                meter.usage = usage
        yield usage
        yield Finished(message.reason, message.model or request.model)

    def _start(self, request: ModelRequest) -> wire.Start:
        options = request.options or {}
        allowed = {name: value for name, value in options.items() if name in OPTIONS}
        body = request_body(msgspec.structs.replace(request, options=allowed), "max_tokens")
        del body["model"]
        if request.traceparent is not None:
            body["extra_headers"] = {"traceparent": request.traceparent}
        return wire.Start(
            id=0,
            model=request.model,
            body=body,
            seconds=self._provider.timeout_seconds,
            key=self._key,
            base_url=self._provider.base_url,
        )

    async def _next(self, call: ChildCall, request: ModelRequest) -> wire.OfCall:
        left = request.deadline - time.monotonic()
        try:
            async with asyncio.timeout(max(0.0, min(self._provider.timeout_seconds, left))):
                return await call.next()
        except TimeoutError:
            raise self._failures.timeout(self._provider.timeout_seconds) from None

    def _part(self, message: wire.OfCall, request: ModelRequest) -> TextDelta | ToolCall:
        match message:
            case wire.Text():
                return TextDelta(message.text)
            case wire.Called():
                return ToolCall(message.call_id, message.name, message.arguments)
            case wire.Failed():
                model = request.model.partition("/")[2]
                raise self._failures.of_kind(
                    message.kind,
                    model,
                    status=message.status,
                    said=message.said,
                    retry_after=message.retry_after,
                )
            case _:
                raise ModelError("garbage", "The translating process broke its protocol.")

    def _usage(self, request: ModelRequest, last: wire.OfCall | None, output_bytes: int) -> Usage:
        counts = None
        if isinstance(last, wire.Ended):
            counts = counts_of(last.input_tokens, last.output_tokens)
        return self._accounting.usage(request, counts, output_bytes)


def _may_have_worked(failed: wire.Failed) -> bool:
    """Tell whether a provider may want to be paid though it said nothing: who refused does not."""
    return failed.kind == "timeout" or (failed.accepted and failed.kind == "unavailable")


def _bytes_of(part: TextDelta | ToolCall) -> int:
    text = part.text if isinstance(part, TextDelta) else part.name + part.arguments
    return len(text.encode(errors="replace"))
