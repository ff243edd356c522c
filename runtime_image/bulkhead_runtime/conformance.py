"""`python -m bulkhead_runtime.conformance URL --agent NAME`: does an image keep the contract?

Asks an image as the runtime does, by the runtime's own client, and as the runtime's misfortunes
would: callers that leave, many at once, bodies that are nothing. Prints one line per promise and
exits with 1 where one is broken.
"""

import argparse
import asyncio
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import aclosing
from typing import Final

import aiohttp
import orjson

from bulkhead_runtime.models.errors import ModelError
from bulkhead_runtime.models.fast_lane.connections import Connections
from bulkhead_runtime.models.image_lane import wire
from bulkhead_runtime.models.image_lane.client import ImageClient
from bulkhead_runtime.models.port import Meter, ModelMessage, ModelRequest, TextDelta, ToolCall

AT_ONCE: Final = 8
LARGE_BYTES: Final = 2 * 1024 * 1024
SHORT_SECONDS: Final = 1.0
GRACE_SECONDS: Final = 2.0
_OK: Final = 200
_REFUSALS: Final = range(400, 500)


class BrokenError(Exception):
    """A promise is broken; the message says how."""


class Image:
    """The image that is asked; `seconds` is the time for one answer."""

    def __init__(
        self, url: str, agent: str, message: str, seconds: float, connections: Connections
    ) -> None:
        self._url = url.rstrip("/")
        self._message = message
        self._seconds = seconds
        self._connections = connections
        self.about = wire.About(agent=agent, package="conformance", version="1.0.0", run_id="run")
        self.client = ImageClient(url, self.about, connections)

    def request(self, *history: ModelMessage) -> ModelRequest:
        """Return a request with this history before the message."""
        return ModelRequest(
            model="offline/echo",
            messages=(*history, ModelMessage("user", self._message)),
            max_output_tokens=4096,
            deadline=time.monotonic() + self._seconds,
        )

    async def answer(self, request: ModelRequest) -> str:
        """Return the whole answer; raise `ModelError` where it breaks the contract."""
        texts: list[str] = []
        async with aclosing(self.client.stream(request, Meter())) as parts:
            async for part in parts:
                match part:
                    case TextDelta(text):
                        texts.append(text)
                    case ToolCall(_, name, _):
                        texts.append(f"[calls {name}]")
        return "".join(texts)

    async def leave_midway(self) -> None:
        """Read the first part of an answer and go."""
        async with aclosing(self.client.stream(self.request(), Meter())) as parts:
            async for _ in parts:
                return

    async def status(self, body: bytes) -> int:
        """Return the status of an answer to raw bytes, once it has ended."""
        timeout = aiohttp.ClientTimeout(total=self._seconds)
        headers = {"Content-Type": "application/json"}
        async with self._connections.new_session().post(
            self._url + wire.EXECUTE_PATH, data=body, headers=headers, timeout=timeout
        ) as response:
            await response.read()
            return response.status


async def healthy(image: Image) -> None:
    """GET /bulkhead/v1/health answers 200 and {"status": "ok"}."""
    await image.client.health()


async def streams(image: Image) -> None:
    """An answer streams valid events, says something and ends with `done`."""
    if not await image.answer(image.request()):
        raise BrokenError("the answer has neither text nor tool calls")


async def takes_history(image: Image) -> None:
    """A conversation with instructions, earlier turns and a tool's result is answered."""
    call = ToolCall("call_1", "calculate", '{"expression": "1+1"}')
    await image.answer(
        image.request(
            ModelMessage("system", "Be brief."),
            ModelMessage("user", "What is 1+1?"),
            ModelMessage("assistant", "", (call,)),
            ModelMessage("tool", '{"ok": true, "data": 2}', tool_call_id="call_1"),
            ModelMessage("assistant", "2"),
        )
    )


async def several_at_once(image: Image) -> None:
    """Eight executions at once are all answered."""
    await asyncio.gather(*(image.answer(image.request()) for _ in range(AT_ONCE)))


async def survives_leaving(image: Image) -> None:
    """Callers that leave midway do no harm to those who come after."""
    await asyncio.gather(*(image.leave_midway() for _ in range(AT_ONCE)))
    await image.answer(image.request())


async def ignores_unknown_fields(image: Image) -> None:
    """A field of a later contract is ignored."""
    body = wire.body_of(image.request(), image.about, 30.0)
    await _expect(image, {**body, "of_a_later_contract": {"a": 1}}, range(_OK, _OK + 1))


async def refuses_unknown_agents(image: Image) -> None:
    """An agent that is not in the image is refused with a status from 400 to 499."""
    body = wire.body_of(image.request(), image.about, 30.0)
    await _expect(image, {**body, "agent": "no-such-agent"}, _REFUSALS)


async def refuses_garbage(image: Image) -> None:
    """A body that is no request is refused with a status from 400 to 499."""
    for body in (b"", b"{oops", b"[]", b'{"agent": 7}'):
        status = await image.status(body)
        if status not in _REFUSALS:
            raise BrokenError(f"{body.decode() or 'an empty body'} is answered with {status}")


async def bounds_bodies(image: Image) -> None:
    """A conversation of two mebibytes is answered or refused, and the next one answered."""
    body = wire.body_of(image.request(), image.about, 30.0)
    body["messages"].insert(0, {"role": "user", "content": "a" * LARGE_BYTES})
    await _expect(image, body, range(_OK, 500))
    await image.answer(image.request())


async def keeps_deadlines(image: Image) -> None:
    """An answer ends, or gives up, by `deadline_seconds`."""
    body = wire.body_of(image.request(), image.about, SHORT_SECONDS)
    try:
        async with asyncio.timeout(SHORT_SECONDS + GRACE_SECONDS):
            await image.status(orjson.dumps(body))
    except TimeoutError:
        raise BrokenError(f"it was still at work {GRACE_SECONDS:g} seconds later") from None


async def _expect(image: Image, body: dict[str, object], statuses: range) -> None:
    status = await image.status(orjson.dumps(body))
    if status not in statuses:
        raise BrokenError(f"the status is {status}")


PROMISES: Final[Sequence[Callable[[Image], Awaitable[None]]]] = (
    healthy,
    streams,
    takes_history,
    several_at_once,
    survives_leaving,
    ignores_unknown_fields,
    refuses_unknown_agents,
    refuses_garbage,
    bounds_bodies,
    keeps_deadlines,
)


async def examine(url: str, agent: str, message: str, seconds: float) -> int:
    """Print what holds and what does not; return how many promises are broken."""
    connections = Connections()
    image, broken = Image(url, agent, message, seconds, connections), 0
    try:
        for promise in PROMISES:
            wrong = await _wrong(promise, image, seconds)
            broken += wrong is not None
            said = (promise.__doc__ or "").strip()
            sys.stdout.write(f"ok    {said}\n" if wrong is None else f"FAIL  {said} {wrong}\n")
            if broken and promise is healthy:
                return len(PROMISES)  # nobody would be sent to it, so nothing else is asked
    finally:
        await connections.aclose()
    return broken


async def _wrong(
    promise: Callable[[Image], Awaitable[None]], image: Image, seconds: float
) -> str | None:
    try:
        async with asyncio.timeout(2 * seconds):
            await promise(image)
    except (BrokenError, ModelError) as error:
        return f"But: {error}"
    except (aiohttp.ClientError, TimeoutError, OSError) as error:
        return f"But: {type(error).__name__}: {error}"
    return None


def main(arguments: Sequence[str] | None = None) -> int:
    """Examine the image that the command line names; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m bulkhead_runtime.conformance")
    parser.add_argument("url", help="where the image answers, for example http://127.0.0.1:8080")
    parser.add_argument("--agent", required=True, help="an agent that the image has")
    parser.add_argument("--message", default="Hello.", help="what it is told (default: Hello.)")
    parser.add_argument(
        "--seconds", type=float, default=30.0, help="the time for one answer (default: 30)"
    )
    asked = parser.parse_args(arguments)
    broken = asyncio.run(examine(asked.url, asked.agent, asked.message, asked.seconds))
    sys.stdout.write(f"{len(PROMISES) - broken} of {len(PROMISES)} promises are kept\n")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
