"""The litellm process as the serving process sees it: one socket, many calls.

It dies alone: whatever it was doing ends with an error that says so, and nothing else is touched.
"""

import asyncio
import itertools
import logging
import os
import socket
import sys
from collections import deque
from dataclasses import dataclass
from typing import Final, cast

import msgspec

from bulkhead_runtime.models.errors import ModelError
from bulkhead_runtime.models.litellm_lane import wire
from bulkhead_runtime.models.redaction import redacted

KEPT_LINES: Final = 5
MAX_LINE_BYTES: Final = 65_536
LAST_LINES_SECONDS: Final = 1.0
"""Within which a process that has ended is heard out."""

_INHERITED: Final = ("PATH", "PYTHONPATH", "LANG", "TZ", "SSL_CERT_FILE", "SSL_CERT_DIR")
"""All that the process learns of the environment, which may hold what is not its business."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Timing:
    """Seconds: to start within, between pings, without a sign of life, without a call."""

    start: float = 60.0
    ping: float = 10.0
    silence: float = 30.0
    idle: float = 300.0


class ChildCall:
    """One call under way; read until `Ended` or `Failed`."""

    def __init__(self, identifier: int, child: "LiteLLMChild") -> None:
        self.identifier = identifier
        self.ended = False
        self._child = child
        self._unread: asyncio.Queue[wire.OfCall | None] = asyncio.Queue()
        self._taken = 0

    @property
    def unread(self) -> int:
        """Return how many messages wait to be read."""
        return self._unread.qsize()

    def put(self, message: wire.OfCall | None) -> None:
        """Add what arrived, None when the process is gone; credit bounds how much there can be."""
        self._unread.put_nowait(message)

    async def next(self) -> wire.OfCall:
        """Return the next message; raise `ModelError` when the process has gone."""
        message = await self._unread.get()
        if message is None:
            self.ended = True
            raise ModelError(
                "unavailable",
                "The process that translates for this provider ended during the call: try again.",
            )
        self.ended = isinstance(message, wire.Ended | wire.Failed)
        self._taken += 1
        if self._taken == wire.CREDIT // 2:
            self._child.send(wire.Grant(self.identifier, self._taken))
            self._taken = 0
        return message


class LiteLLMChild:
    """One run of the process; `start()` makes it."""

    def __init__(
        self, process: asyncio.subprocess.Process, connection: socket.socket, timing: Timing
    ) -> None:
        self.pid = process.pid
        self.alive = True
        self._process = process
        self._connection = connection
        self._timing = timing
        self._calls: dict[int, ChildCall] = {}
        self._identifiers = itertools.count(1)
        self._ready = asyncio.Event()
        self._last_sign = 0.0
        self._writer: asyncio.StreamWriter | None = None
        self._lines: deque[bytes] = deque(maxlen=KEPT_LINES)
        self._tasks: list[asyncio.Task[None]] = []

    @classmethod
    async def start(cls, timing: Timing) -> "LiteLLMChild":
        """Start the process and wait until it can take calls; raise `ModelError` if it cannot."""
        ours, theirs = socket.socketpair()
        with theirs:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-P",
                "-m",
                "bulkhead_runtime.models.litellm_child",
                str(theirs.fileno()),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.STDOUT,
                pass_fds=(theirs.fileno(),),
                env=_environment(),
                limit=MAX_LINE_BYTES,
                # A signal for the serving process's group is not for it: it ends with its socket.
                start_new_session=True,
            )
        child = cls(process, ours, timing)
        try:
            await child._open()
        except BaseException:
            await child.stop()
            raise
        return child

    @property
    def busy(self) -> bool:
        """Tell whether a call is under way."""
        return bool(self._calls)

    def begin(self, start: wire.Start) -> ChildCall:
        """Begin a call; its identifier is given here. Raise `ModelError` for one too large."""
        call = ChildCall(next(self._identifiers), self)
        try:
            self.send(msgspec.structs.replace(start, id=call.identifier))
        except ValueError:
            raise ModelError(
                "invalid_request",
                f"The conversation is larger than {wire.MAX_FRAME_BYTES} bytes: shorten it.",
            ) from None
        self._calls[call.identifier] = call
        if not self.alive:
            call.put(None)
        return call

    def end(self, call: ChildCall) -> None:
        """Forget a call; one that has not ended is cancelled at the provider."""
        del self._calls[call.identifier]
        if not call.ended:
            self.send(wire.Cancel(call.identifier))

    def send(self, message: wire.ToChild) -> None:
        """Send a message; to a process that is gone, nothing. Raise `ValueError` if too large."""
        if self.alive and self._writer is not None:
            self._writer.write(wire.frame(message))

    async def stop(self) -> None:
        """End the process and wait for it."""
        self.alive = False
        self._cancel_tasks()
        self._close_connection()
        if self._process.returncode is None:
            self._process.kill()
        await self._process.wait()
        self._fail_calls()

    async def _open(self) -> None:
        reader, self._writer = await asyncio.open_connection(sock=self._connection)
        lines = asyncio.create_task(self._keep_lines())
        self._tasks = [lines, asyncio.create_task(self._receive(reader, lines))]
        try:
            async with asyncio.timeout(self._timing.start):
                await self._ready.wait()
        except TimeoutError:
            raise self._not_started() from None
        if not self.alive:
            raise self._not_started()
        self._tasks.append(asyncio.create_task(self._watch()))

    async def _receive(self, reader: asyncio.StreamReader, lines: asyncio.Task[None]) -> None:
        decoder = msgspec.msgpack.Decoder(wire.FromChild)
        try:
            while (data := await wire.read_frame(reader)) is not None:
                self._last_sign = asyncio.get_running_loop().time()
                self._take(decoder.decode(data))
        except msgspec.MsgspecError:
            _log.warning(
                "the litellm process breaks its protocol and is killed", extra={"pid": self.pid}
            )
            self._process.kill()
        await self._process.wait()
        await asyncio.wait([lines], timeout=LAST_LINES_SECONDS)
        self._died()

    def _take(self, message: wire.FromChild) -> None:
        match message:
            case wire.Ready():
                self._ready.set()
            case wire.Pong():
                pass  # a sign of life, as every frame
            case _ if message.id in self._calls:
                self._calls[message.id].put(message)
            case _:
                pass  # an answer that nobody waits for any more

    async def _watch(self) -> None:
        """Kill a process that gives no sign of life; nothing else ends a call that hangs there."""
        while True:
            self.send(wire.Ping())
            await asyncio.sleep(self._timing.ping)
            if asyncio.get_running_loop().time() - self._last_sign > self._timing.silence:
                _log.warning("the litellm process is silent and is killed", extra={"pid": self.pid})
                self._process.kill()

    async def _keep_lines(self) -> None:
        output = cast("asyncio.StreamReader", self._process.stdout)
        while line := await output.read(MAX_LINE_BYTES):
            self._lines.extend(line.splitlines()[-KEPT_LINES:])

    def _died(self) -> None:
        self.alive = False
        self._ready.set()
        self._close_connection()
        self._cancel_tasks()
        last_lines = [redacted(line.decode(errors="replace"), None) for line in self._lines]
        _log.warning(
            "the litellm process ended",
            extra={
                "pid": self.pid,
                "status": self._process.returncode,
                "last_lines": last_lines,
            },
        )
        self._fail_calls()

    def _cancel_tasks(self) -> None:
        for task in self._tasks:
            if task is not asyncio.current_task():
                task.cancel()

    def _close_connection(self) -> None:
        if self._writer is None:
            self._connection.close()
        else:
            self._writer.transport.abort()

    def _fail_calls(self) -> None:
        for call in self._calls.values():
            call.put(None)

    def _not_started(self) -> ModelError:
        return ModelError(
            "unavailable",
            "The process that translates for this provider did not start: see the runtime's log; "
            "it needs spec.limits.maxMemoryMB of at least 512.",
        )


def _environment() -> dict[str, str]:
    kept = {name: os.environ[name] for name in _INHERITED if name in os.environ}
    return {
        **kept,
        "HOME": "/nonexistent",  # no configuration and no cache of any user
        "PYTHONUNBUFFERED": "1",
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",
        "LITELLM_MODE": "PRODUCTION",  # else a .env file would be looked for and loaded
    }
