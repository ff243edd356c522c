"""A wire between a client and a server that can be slow, silent or cut, and counts questions."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Self


class TcpProxy:
    """Forwards to a port of this machine."""

    def __init__(self, target: int) -> None:
        self._target = target
        self._tasks: set[asyncio.Task[None]] = set()
        self._open = asyncio.Event()
        self._open.set()
        self.port = 0
        self.delay = 0.0
        """Seconds that every answer is late."""
        self.questions = 0
        """How often a client spoke after the server had, which are the round trips."""

        self.answered = 0
        """Bytes that the server sent."""

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[Self]:
        """Serve until the block ends."""
        server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            server.close()
            self.resume()
            self.cut()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    def silence(self) -> None:
        """Let nothing through, as a partition does: connections stay and nobody answers."""
        self._open.clear()

    def resume(self) -> None:
        """Let everything through again."""
        self._open.set()

    def cut(self) -> None:
        """Drop every connection."""
        for task in self._tasks:
            task.cancel()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        back = writer
        try:
            there, back = await asyncio.open_connection("127.0.0.1", self._target)
            spoken = [True]
            async with asyncio.TaskGroup() as both:
                both.create_task(self._carry(reader, back, spoken, asking=True))
                both.create_task(self._carry(there, writer, spoken, asking=False))
        except (OSError, ExceptionGroup, asyncio.CancelledError):
            pass
        finally:
            self._tasks.discard(task)
            for end in {writer, back}:
                end.close()
                with suppress(OSError):
                    await end.wait_closed()

    async def _carry(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        spoken: list[bool],
        *,
        asking: bool,
    ) -> None:
        while data := await reader.read(65536):
            if asking and spoken[0]:
                self.questions += 1
            spoken[0] = not asking
            self.answered += 0 if asking else len(data)
            await self._open.wait()
            if not asking and self.delay:
                await asyncio.sleep(self.delay)
            writer.write(data)
            await writer.drain()
        writer.close()
        raise ConnectionError
