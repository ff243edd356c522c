"""POST /v1/tools/run: one tool without a model, by the same way as an agent's calls."""

from typing import Annotated, Any

import msgspec
import orjson

from bulkhead_runtime.api import idempotency
from bulkhead_runtime.api.bodies import decode
from bulkhead_runtime.api.exchange import Exchange
from bulkhead_runtime.kernel.requests import ToolRequest
from bulkhead_runtime.runtime import Runtime
from bulkhead_runtime.store.spending import RepeatedAnswer
from bulkhead_runtime.tools.port import ToolEnvelope


class ToolRunBody(msgspec.Struct, forbid_unknown_fields=True):
    """A call of a tool."""

    tool: Annotated[str, msgspec.Meta(min_length=1, max_length=128)]
    arguments: dict[str, Any] = {}


_decoder = msgspec.json.Decoder(ToolRunBody)


async def run(exchange: Exchange, runtime: Runtime) -> None:
    """Answer with the tool's envelope; what goes wrong inside the tool is told in it."""
    raw = await exchange.read_json(runtime.holder.require().max_body_bytes)
    body = decode(_decoder, raw)
    caller = exchange.caller(idempotency.repeatable(exchange, raw, _kept))
    request = ToolRequest(body.tool, body.arguments, caller)
    envelope = await exchange.until_gone(runtime.tool_runs.run(request))
    await exchange.respond(200, _json(envelope), headers=None)


def _kept(envelope: ToolEnvelope) -> RepeatedAnswer:
    return idempotency.kept(_json(envelope), stream=False)


def _json(envelope: ToolEnvelope) -> bytes:
    return orjson.dumps(envelope.to_json())
