"""What the calls to one source share: places and a circuit.

A source is never flooded, and one that is down is left alone and costs nobody but its own tools.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Final

from bulkhead_runtime.models.circuit import Circuit, CircuitState
from bulkhead_runtime.tools.errors import ToolError, TransientError

CALLS_AT_ONCE: Final = 16
FAILURES_BEFORE_OPEN: Final = 5
OPEN_SECONDS: Final = 30.0
MAX_SOURCES: Final = 256


class Source:
    """One source of tools: a server, or a host that a package calls."""

    def __init__(self, name: str, changed: Callable[[str, CircuitState], None]) -> None:
        self._name = name
        self._places = asyncio.Semaphore(CALLS_AT_ONCE)
        self._circuit = Circuit(
            FAILURES_BEFORE_OPEN, OPEN_SECONDS, lambda state: changed(name, state)
        )

    @asynccontextmanager
    async def call(self, deadline: float) -> AsyncIterator[None]:
        """Hold a place for one call and count how it ends; raise `ToolError` while it is down.

        A call that is cut off at its deadline, a time of `time.monotonic()`, counts as failed;
        one that its caller gives up earlier says nothing of the source.
        """
        async with self._places:
            permit = self._circuit.admit(time.monotonic())
            if permit is None:
                seconds = self._circuit.wait(time.monotonic())
                raise ToolError(
                    "source_down",
                    f"{self._name} failed too often and is left alone for {seconds:.0f} s: try "
                    "something else meanwhile.",
                )
            try:
                yield
            except (TransientError, TimeoutError):
                self._circuit.failed(permit, time.monotonic(), None)
                raise
            except asyncio.CancelledError:
                if time.monotonic() < deadline:
                    self._circuit.abandoned(permit)
                else:
                    self._circuit.failed(permit, time.monotonic(), None)
                raise
            except BaseException:
                self._circuit.succeeded(permit)
                raise
            self._circuit.succeeded(permit)


class Sources:
    """All sources that were called, the longest unused forgotten beyond a bound."""

    def __init__(self, changed: Callable[[str, CircuitState], None]) -> None:
        self._changed = changed
        self._sources: dict[str, Source] = {}

    def get(self, name: str) -> Source:
        """Return a source by name."""
        source = self._sources.pop(name, None) or Source(name, self._changed)
        self._sources[name] = source
        if len(self._sources) > MAX_SOURCES:
            del self._sources[next(iter(self._sources))]
        return source
