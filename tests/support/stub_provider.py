"""A model provider that is not ours: speaks OpenAI's and a little of Anthropic's dialect.

It stands where a real provider would: an HTTP server on its own thread (`running()`), or a process
(`python -m tests.support.stub_provider --port N`) for benchmarks and the cluster. How it behaves
is said by the model's name, MODE or MODE;chunks=100;delay_ms=5, or by the header `x-stub-model`;
the modes are listed in tests/support/stub_provider_modes.py.
"""

import argparse
import asyncio
import socket
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import uvicorn

from tests.support.stub_provider_anthropic import answer_messages
from tests.support.stub_provider_modes import (
    MODES,
    Call,
    ClientGoneError,
    Exchange,
    moderate,
    refuse,
)

KEPT_REQUESTS = 1_000


@dataclass(frozen=True)
class Seen:
    """One request as the stub saw it."""

    path: str
    headers: dict[str, str]
    body: dict[str, Any]
    client: tuple[str, int]


@dataclass
class StubProvider:
    """The application and what it saw; `base_url` is the address to configure."""

    base_url: str = ""
    requests: list[Seen] = field(default_factory=list)
    cancellations: int = 0
    keys: frozenset[str] | None = None
    """The keys that are accepted; None accepts any and none."""

    _counts: Counter[str] = field(default_factory=Counter)
    _changed: threading.Condition = field(default_factory=threading.Condition)

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        headers = {key.decode(): value.decode("latin-1") for key, value in scope["headers"]}
        exchange = Exchange(receive, send)
        call = Call.of(headers, await exchange.read_body())
        if len(self.requests) < KEPT_REQUESTS:
            self._note(Seen(scope["path"], headers, call.body, scope["client"]))
        self._counts[call.model] += 1
        call.number = self._counts[call.model]
        try:
            await self._answer(scope["path"], call, exchange)
        except ClientGoneError:
            with self._changed:
                self.cancellations += 1
                self._changed.notify_all()

    async def _answer(self, path: str, call: Call, exchange: Exchange) -> None:
        mode = MODES.get(call.mode)
        if self.keys is not None and call.key not in self.keys:
            await refuse(exchange, 401, f"Incorrect API key: {call.key}", "invalid_api_key")
        elif path.endswith("/messages"):
            await answer_messages(call, exchange)
        elif path.endswith("/moderations"):
            await moderate(call, exchange)
        elif path.endswith("/chat/completions") and mode is not None:
            await mode(call, exchange)
        else:
            await refuse(exchange, 404, f"nothing at {path} for {call.model}", "not_found")

    def forget(self) -> None:
        """Begin anew with what was seen; requests under way are not waited for."""
        self.requests.clear()
        self._counts.clear()
        self.cancellations = 0
        self.keys = None

    async def cancelled(self, count: int = 1, seconds: float = 30) -> bool:
        """Tell whether so many clients left before their answer ended, within the seconds."""
        return await asyncio.to_thread(self._holds, lambda: self.cancellations >= count, seconds)

    async def asked(self, count: int = 1, seconds: float = 30) -> bool:
        """Tell whether so many requests came, within the seconds."""
        return await asyncio.to_thread(self._holds, lambda: len(self.requests) >= count, seconds)

    def _holds(self, condition: Callable[[], bool], seconds: float) -> bool:
        with self._changed:
            return self._changed.wait_for(condition, seconds)

    def _note(self, seen: Seen) -> None:
        with self._changed:
            self.requests.append(seen)
            self._changed.notify_all()


@contextmanager
def running() -> Iterator[StubProvider]:
    """Serve a stub on a free port of the loopback, on its own thread and event loop."""
    stub = StubProvider()
    listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
    stub.base_url = f"http://127.0.0.1:{listener.getsockname()[1]}/v1"
    server = uvicorn.Server(_settings(stub))
    thread = threading.Thread(
        target=asyncio.run, args=(server.serve(sockets=[listener]),), daemon=True
    )
    thread.start()
    try:
        yield stub
    finally:
        server.should_exit = True
        server.force_exit = True
        thread.join()
        listener.close()


def _settings(app: Any, host: str = "127.0.0.1", port: int = 0) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        host=host,
        port=port,
        log_level="critical",
        access_log=False,
        lifespan="off",
        timeout_graceful_shutdown=0,
    )


def main() -> None:
    """Serve until terminated."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=9100)
    arguments = parser.parse_args()
    uvicorn.Server(_settings(StubProvider(), arguments.host, arguments.port)).run()


if __name__ == "__main__":
    main()
