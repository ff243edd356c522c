"""How the stub provider can behave, by mode.

Parameters follow the mode in the model's name: `words;chunks=100;delay_ms=5`.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import orjson

ID = "chatcmpl-upstream"
INPUT_TOKENS = 7
DONE = b"data: [DONE]\n\n"


class ClientGoneError(Exception):
    """The client left before its answer ended."""


@dataclass
class Call:
    """What a client asked; `number` counts the requests for the same model's name, from 1."""

    headers: dict[str, str]
    body: dict[str, Any]
    model: str
    mode: str
    parameters: dict[str, float] = field(default_factory=dict)
    number: int = 0

    @classmethod
    def of(cls, headers: dict[str, str], body: bytes) -> "Call":
        decoded = orjson.loads(body or b"{}")
        model = headers.get("x-stub-model") or decoded.get("model", "")
        mode, *pairs = model.split(";")
        parameters = {key: float(value) for key, _, value in (p.partition("=") for p in pairs)}
        return cls(headers, decoded, model, mode, parameters)

    @property
    def chunks(self) -> int:
        return int(self.parameters.get("chunks", 5))

    @property
    def delay(self) -> float:
        return self.parameters.get("delay_ms", 0) / 1000

    @property
    def wants_usage(self) -> bool:
        return bool((self.body.get("stream_options") or {}).get("include_usage"))

    @property
    def key(self) -> str:
        return self.headers.get("authorization", "").removeprefix("Bearer ")


class Exchange:
    """The raw ASGI exchange with as little work per chunk as there can be."""

    def __init__(self, receive: Any, send: Any) -> None:
        self._receive = receive
        self._send = send

    async def read_body(self) -> bytes:
        body = bytearray()
        while True:
            message = await self._receive()
            body += message.get("body", b"")
            if not message.get("more_body"):
                return bytes(body)

    async def start(self, status: int, content_type: bytes, *headers: tuple[bytes, bytes]) -> None:
        await self._send(
            {
                "type": "http.response.start",
                "status": status,
                "headers": [(b"content-type", content_type), *headers],
            }
        )

    async def stream(self) -> None:
        await self.start(200, b"text/event-stream; charset=utf-8")

    async def write(self, data: bytes) -> None:
        await self._send({"type": "http.response.body", "body": data, "more_body": True})

    async def end(self, data: bytes = b"") -> None:
        await self._send({"type": "http.response.body", "body": data, "more_body": False})

    async def whole(
        self, status: int, content_type: bytes, body: bytes, *headers: tuple[bytes, bytes]
    ) -> None:
        length = str(len(body)).encode()
        await self.start(status, content_type, (b"content-length", length), *headers)
        await self.end(body)

    async def pause(self, seconds: float | None) -> None:
        """Wait, endlessly for None; raise `ClientGoneError` when the client leaves meanwhile."""
        if seconds == 0:
            return
        try:
            await asyncio.wait_for(self._receive(), seconds)
        except TimeoutError:
            return
        raise ClientGoneError


Mode = Callable[[Call, Exchange], Awaitable[None]]


def frame(call: Call, delta: dict[str, Any], finish: str | None = None, **extra: Any) -> bytes:
    chunk = {
        "id": ID,
        "object": "chat.completion.chunk",
        "created": 1_700_000_000,
        "model": call.model,
        "system_fingerprint": "fp_stub",
        "choices": [{"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}],
        **extra,
    }
    return b"data: " + orjson.dumps(chunk) + b"\n\n"


def usage_frame(call: Call, output_tokens: int, input_tokens: int = INPUT_TOKENS) -> bytes:
    chunk = {
        "id": ID,
        "object": "chat.completion.chunk",
        "created": 1_700_000_000,
        "model": call.model,
        "choices": [],
        "usage": usage(output_tokens, input_tokens),
    }
    return b"data: " + orjson.dumps(chunk) + b"\n\n"


def usage(output_tokens: int, input_tokens: int = INPUT_TOKENS) -> dict[str, int]:
    return {
        "prompt_tokens": input_tokens,
        "completion_tokens": output_tokens,
        "total_tokens": input_tokens + output_tokens,
    }


@lru_cache(maxsize=64)
def _word_frames(model: str, chunks: int) -> tuple[bytes, ...]:
    call = Call({}, {}, model, "words")
    words = (frame(call, {"content": f"word{i} "}) for i in range(chunks))
    return (frame(call, {"role": "assistant", "content": ""}), *words, frame(call, {}, "stop"))


async def words(call: Call, exchange: Exchange) -> None:
    """`chunks` words (default 5), `delay_ms` before each; usage where it is asked for."""
    if not call.body.get("stream"):
        await _whole_answer(call, exchange)
        return
    await exchange.stream()
    for data in _word_frames(call.model, call.chunks):
        if call.delay:
            await exchange.pause(call.delay)
        await exchange.write(data)
    if call.wants_usage:
        await exchange.write(usage_frame(call, call.chunks))
    await exchange.write(DONE)
    await exchange.end()


async def _whole_answer(call: Call, exchange: Exchange) -> None:
    text = "".join(f"word{i} " for i in range(call.chunks))
    answer = {
        "id": ID,
        "object": "chat.completion",
        "created": 1_700_000_000,
        "model": call.model,
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": text},
                "finish_reason": "stop",
            }
        ],
        "usage": usage(call.chunks),
    }
    await exchange.pause(call.delay)
    await exchange.whole(200, b"application/json", orjson.dumps(answer))


async def slow(call: Call, exchange: Exchange) -> None:
    """Nothing for `delay_ms`, then five words."""
    await exchange.pause(call.delay)
    await words(Call(call.headers, call.body, call.model, "words"), exchange)


async def tools(call: Call, exchange: Exchange) -> None:
    """Calls the first tool offered, `calls` times at once, arguments in pieces; then words."""
    offered = call.body.get("tools")
    if not offered or call.body["messages"][-1]["role"] == "tool":
        await words(call, exchange)
        return
    name = offered[0]["function"]["name"]
    await exchange.stream()
    await exchange.write(frame(call, {"role": "assistant", "content": None}))
    for index in range(int(call.parameters.get("calls", 1))):
        opening = {"index": index, "id": f"call_up{index or ''}", "type": "function"}
        await exchange.write(
            frame(call, {"tool_calls": [{**opening, "function": {"name": name, "arguments": ""}}]})
        )
        for piece in ('{"expres', 'sion": "6', ' * 7"}'):
            await exchange.pause(call.delay)
            await exchange.write(
                frame(call, {"tool_calls": [{"index": index, "function": {"arguments": piece}}]})
            )
    await exchange.write(frame(call, {}, "tool_calls"))
    await exchange.write(usage_frame(call, 9))
    await exchange.end(DONE)


async def busy_after_tools(call: Call, exchange: Exchange) -> None:
    """Calls the first tool offered; 503 once it has answered."""
    if any(message.get("role") == "tool" for message in call.body["messages"]):
        await refuse(exchange, 503, "busy", "server_error")
        return
    await tools(call, exchange)


async def thinking(call: Call, exchange: Exchange) -> None:
    """Thoughts and a word as parts, then five words; nothing is counted."""
    thought = {"type": "thinking", "thinking": [{"type": "text", "text": "a secret thought"}]}
    await exchange.stream()
    await exchange.write(frame(call, {"content": [thought]}))
    await exchange.write(frame(call, {"content": [{"type": "text", "text": "Well: "}]}))
    for data in _word_frames(call.model, call.chunks):
        await exchange.write(data)
    await exchange.end(DONE)


async def no_usage(call: Call, exchange: Exchange) -> None:
    """Five words, and nothing is counted whatever was asked."""
    await exchange.stream()
    for data in _word_frames(call.model, call.chunks):
        await exchange.write(data)
    await exchange.end(DONE)


async def miscounts(call: Call, exchange: Exchange) -> None:
    """Five words, and a count of `input` and `output` tokens, whatever they are."""
    told = (int(call.parameters["output"]), int(call.parameters["input"]))
    await exchange.stream()
    for data in _word_frames(call.model, call.chunks):
        await exchange.write(data)
    await exchange.write(usage_frame(call, *told))
    await exchange.end(DONE)


async def no_done(call: Call, exchange: Exchange) -> None:
    """Five words, finished, but no [DONE]."""
    await exchange.stream()
    for data in _word_frames(call.model, call.chunks):
        await exchange.write(data)
    await exchange.end()


async def duplicate_finish(call: Call, exchange: Exchange) -> None:
    """Finishes twice and goes on after [DONE]."""
    await exchange.stream()
    for data in _word_frames(call.model, call.chunks):
        await exchange.write(data)
    await exchange.write(frame(call, {}, "stop"))
    await exchange.write(DONE)
    await exchange.write(frame(call, {"content": "ghost"}))
    await exchange.end(DONE)


async def garbage(call: Call, exchange: Exchange) -> None:
    """A word, unless there are to be `chunks=0`, then a frame that is not JSON."""
    await exchange.stream()
    if call.chunks:
        await exchange.write(frame(call, {"content": "word0 "}))
    await exchange.pause(call.delay)
    await exchange.end(b"data: {not json at all\n\n")


async def wrong_shape(call: Call, exchange: Exchange) -> None:
    """JSON, but no chat completion."""
    await exchange.stream()
    await exchange.end(b'data: {"choices": {"a": 1}}\n\n')


async def error_frame(call: Call, exchange: Exchange) -> None:
    """A word, then an error object that quotes the key."""
    await exchange.stream()
    await exchange.write(frame(call, {"content": "word0 "}))
    error = {"error": {"message": f"overloaded, key {call.key}", "type": "server_error"}}
    await exchange.end(b"data: " + orjson.dumps(error) + b"\n\n")


async def cut(call: Call, exchange: Exchange) -> None:
    """A word and half a frame; then the server closes, since nothing ends the answer."""
    await exchange.stream()
    await exchange.write(frame(call, {"content": "word0 "}))
    await exchange.pause(call.delay)
    await exchange.write(frame(call, {"content": "word1 "})[:40])


async def ends_early(call: Call, exchange: Exchange) -> None:
    """A word, then a proper end of the body without finish or [DONE]."""
    await exchange.stream()
    await exchange.end(frame(call, {"content": "word0 "}))


async def hang(call: Call, exchange: Exchange) -> None:
    """A word, then nothing; after the first `times` requests of this name, where told, words."""
    if 0 < call.parameters.get("times", 0) < call.number:
        await words(call, exchange)
        return
    await exchange.stream()
    await exchange.write(frame(call, {"content": "word0 "}))
    await exchange.pause(None)


async def silent(call: Call, exchange: Exchange) -> None:
    """Not even headers."""
    await exchange.pause(None)


async def oversized(call: Call, exchange: Exchange) -> None:
    """One line of 8 MiB."""
    await exchange.stream()
    await exchange.write(b'data: {"choices": "')
    for _ in range(128):
        await exchange.write(b"x" * 65_536)
    await exchange.end(b'"}\n\n')


async def endless(call: Call, exchange: Exchange) -> None:
    """Words without end, 64 KiB each."""
    await exchange.stream()
    data = frame(call, {"content": "x" * 65_536})
    while True:
        await exchange.write(data)
        await exchange.pause(0.001)


async def html(call: Call, exchange: Exchange) -> None:
    """200 with a web page."""
    await exchange.whole(200, b"text/html", b"<html><body>Welcome to nginx!</body></html>")


async def redirect(call: Call, exchange: Exchange) -> None:
    """307 to another host."""
    location = (b"location", b"http://127.0.0.2:9/v1/chat/completions")
    await exchange.whole(307, b"text/plain", b"", location)


async def rate_limited(call: Call, exchange: Exchange) -> None:
    """429 with Retry-After of `retry_after` seconds (default 30)."""
    seconds = f"{call.parameters.get('retry_after', 30):g}".encode()
    await refuse(exchange, 429, "slow down", "rate_limit", (b"retry-after", seconds))


async def busy_once(call: Call, exchange: Exchange) -> None:
    """503 for the first `times` requests of this name (default 1), then words."""
    if call.number <= int(call.parameters.get("times", 1)):
        await refuse(exchange, 503, "busy", "server_error")
        return
    await words(call, exchange)


async def error(call: Call, exchange: Exchange) -> None:
    """500, or `status`, whose body quotes the key and is long."""
    status = int(call.parameters.get("status", 500))
    await refuse(exchange, status, f"key {call.key} broke us " + "x" * 5_000, "server_error")


async def unauthorized(call: Call, exchange: Exchange) -> None:
    """401 whose body quotes the key."""
    await refuse(exchange, 401, f"Incorrect API key provided: {call.key}", "invalid_api_key")


async def unpaid(call: Call, exchange: Exchange) -> None:
    """402 as of an account without credit."""
    await refuse(exchange, 402, "Insufficient Balance", "unknown_error")


async def unknown(call: Call, exchange: Exchange) -> None:
    """404 as for a model that does not exist."""
    await refuse(exchange, 404, f"The model {call.model} does not exist", "model_not_found")


async def context(call: Call, exchange: Exchange) -> None:
    """400 as for a conversation that is too long."""
    message = f"maximum context length is 8192 tokens (asked with {call.key})"
    await refuse(exchange, 400, message, "context_length_exceeded")


async def moderate(call: Call, exchange: Exchange) -> None:
    """OpenAI's moderations: violence where the input speaks of it; other modes fail as they do.

    `counted` is how many tokens the provider says that it was, as Mistral does and OpenAI does not.
    """
    if call.mode in MODES and call.mode != "words":
        await MODES[call.mode](call, exchange)
        return
    found = "violence" in call.body["input"]
    result = {"flagged": found, "categories": {"violence": found, "hate": False}}
    answer: dict[str, Any] = {"id": "modr-1", "model": "stub", "results": [result]}
    if "counted" in call.parameters:
        answer["usage"] = {"prompt_tokens": int(call.parameters["counted"])}
    await exchange.whole(200, b"application/json", orjson.dumps(answer))


async def refuse(
    exchange: Exchange, status: int, message: str, code: str, *headers: tuple[bytes, bytes]
) -> None:
    """Answer with an error in OpenAI's shape."""
    body = {"error": {"message": message, "type": code, "param": None, "code": code}}
    await exchange.whole(status, b"application/json", orjson.dumps(body), *headers)


MODES: dict[str, Mode] = {
    function.__name__.replace("_", "-"): function
    for function in (
        words, slow, tools, busy_after_tools, no_usage, miscounts, no_done,
        duplicate_finish, garbage, wrong_shape, error_frame, cut, ends_early, hang, silent,
        oversized, endless, html, redirect, rate_limited, busy_once, error, unauthorized, unpaid,
        unknown, context, thinking,
    )
}  # fmt: skip
