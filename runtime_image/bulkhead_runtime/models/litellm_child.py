"""The litellm process: `python -m bulkhead_runtime.models.litellm_child FD`.

It serves the socket that it inherits as FD and ends when the other side is gone. litellm is
imported here and nowhere else; it reads its price map from disk and reports to nobody.
"""

import asyncio
import os
import socket
import sys
from collections.abc import Coroutine
from typing import Any

import msgspec

from bulkhead_runtime.models.litellm_lane import wire
from bulkhead_runtime.models.litellm_lane.calls import Call


class Serving:
    """Runs the calls that arrive over one socket."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._calls: dict[int, Call] = {}
        self._tasks: dict[int, asyncio.Task[None]] = {}

    async def run(self) -> None:
        """Serve until the other side is gone."""
        litellm = _import_litellm()
        await self._send(wire.Ready())
        decoder = msgspec.msgpack.Decoder(wire.ToChild)
        while (data := await wire.read_frame(self._reader)) is not None:
            await self._take(litellm, decoder.decode(data))
        for task in self._tasks.values():
            task.cancel()

    async def _take(self, litellm: Any, message: wire.ToChild) -> None:
        match message:
            case wire.Start():
                call = Call(litellm, message, self._send)
                self._calls[message.id] = call
                self._begin(message.id, call.run())
            case wire.Cancel() if message.id in self._tasks:
                self._tasks[message.id].cancel()
            case wire.Grant() if message.id in self._calls:
                self._calls[message.id].grant(message.parts)
            case wire.Ping():
                await self._send(wire.Pong())
            case _:
                pass  # the call ended before it was cancelled or granted more

    def _begin(self, identifier: int, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks[identifier] = task
        task.add_done_callback(lambda _: self._forget(identifier))

    def _forget(self, identifier: int) -> None:
        del self._tasks[identifier]
        del self._calls[identifier]

    async def _send(self, message: wire.FromChild) -> None:
        self._writer.write(wire.frame(message))
        await self._writer.drain()


def _import_litellm() -> Any:
    os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"
    os.environ["LITELLM_MODE"] = "PRODUCTION"  # else a .env file would be looked for and loaded
    import litellm  # noqa: PLC0415 (two seconds and 155 MB, only in this process)

    litellm.telemetry = False
    litellm.suppress_debug_info = True
    litellm.disable_streaming_logging = True
    litellm.turn_off_message_logging = True
    litellm.drop_params = True
    # Where a provider does not count, litellm would, and fetch a tokenizer for it from afar.
    litellm.disable_token_counter = True
    return litellm


async def _serve(descriptor: int) -> None:
    reader, writer = await asyncio.open_connection(sock=socket.socket(fileno=descriptor))
    await Serving(reader, writer).run()


def main() -> None:
    """Serve the socket whose descriptor is the only argument."""
    asyncio.run(_serve(int(sys.argv[1])))


if __name__ == "__main__":
    main()
