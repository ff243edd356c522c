"""The stub provider's Anthropic dialect: enough of /v1/messages for a translation to be real."""

from typing import Any

import orjson

from tests.support.stub_provider_modes import INPUT_TOKENS, Call, Exchange


async def answer_messages(call: Call, exchange: Exchange) -> None:
    """Stream words, or a tool call in mode `tools`; other modes answer with Anthropic's errors."""
    match call.mode:
        case "words":
            await _stream(call, exchange, _text_blocks(call), "end_turn")
        case "tools" if not _has_tool_result(call):
            await _stream(call, exchange, _tool_blocks(call), "tool_use")
        case "tools":
            await _stream(call, exchange, _text_blocks(call), "end_turn")
        case "hang":
            await exchange.stream()
            await exchange.write(_event("message_start", message=_message(call)))
            await exchange.pause(None)
        case "cut":
            await exchange.stream()
            await exchange.write(_event("message_start", message=_message(call)))
            for data in _text_blocks(call)[:2]:
                await exchange.write(data)
        case "ends-early":
            await exchange.stream()
            await exchange.write(_event("message_start", message=_message(call)))
            await exchange.end(b"".join(_text_blocks(call)))
        case "rate-limited":
            wait = (b"retry-after", b"30")
            await _refuse(exchange, 429, "rate_limit_error", "slow down", wait)
        case "unauthorized":
            key = call.headers.get("x-api-key", "")
            await _refuse(exchange, 401, "authentication_error", f"invalid x-api-key {key}")
        case _:
            await _refuse(exchange, 404, "not_found_error", f"model: {call.model}")


def _text_blocks(call: Call) -> list[bytes]:
    block = {"type": "text", "text": ""}
    return [
        _event("content_block_start", index=0, content_block=block),
        *(
            _event(
                "content_block_delta",
                index=0,
                delta={"type": "text_delta", "text": f"word{i} "},
            )
            for i in range(call.chunks)
        ),
        _event("content_block_stop", index=0),
    ]


def _tool_blocks(call: Call) -> list[bytes]:
    name = call.body["tools"][0]["name"]
    block = {"type": "tool_use", "id": "toolu_up", "name": name, "input": {}}
    return [
        _event("content_block_start", index=0, content_block=block),
        *(
            _event(
                "content_block_delta",
                index=0,
                delta={"type": "input_json_delta", "partial_json": piece},
            )
            for piece in ('{"expression"', ': "6 * 7"}')
        ),
        _event("content_block_stop", index=0),
    ]


async def _stream(call: Call, exchange: Exchange, blocks: list[bytes], reason: str) -> None:
    await exchange.stream()
    await exchange.write(_event("message_start", message=_message(call)))
    for data in blocks:
        await exchange.pause(call.delay)
        await exchange.write(data)
    delta = {"stop_reason": reason, "stop_sequence": None}
    await exchange.write(_event("message_delta", delta=delta, usage={"output_tokens": call.chunks}))
    await exchange.end(_event("message_stop"))


def _message(call: Call) -> dict[str, Any]:
    return {
        "id": "msg_up",
        "type": "message",
        "role": "assistant",
        "content": [],
        "model": call.model,
        "stop_reason": None,
        "stop_sequence": None,
        "usage": {"input_tokens": INPUT_TOKENS, "output_tokens": 1},
    }


def _has_tool_result(call: Call) -> bool:
    content = call.body["messages"][-1]["content"]
    return isinstance(content, list) and any(part.get("type") == "tool_result" for part in content)


def _event(kind: str, **fields: Any) -> bytes:
    return f"event: {kind}\ndata: ".encode() + orjson.dumps({"type": kind, **fields}) + b"\n\n"


async def _refuse(
    exchange: Exchange, status: int, kind: str, message: str, *headers: tuple[bytes, bytes]
) -> None:
    body = {"type": "error", "error": {"type": kind, "message": message}}
    await exchange.whole(status, b"application/json", orjson.dumps(body), *headers)
