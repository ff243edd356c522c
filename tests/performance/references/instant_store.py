"""The runtime over a store that answers at once: what its own middleware takes, without I/O."""

import asyncio
from typing import Any

import uvloop

from bulkhead_runtime.api.public import PublicApp
from bulkhead_runtime.runtime import Runtime
from bulkhead_runtime.server import Listener
from bulkhead_runtime.settings import Settings
from bulkhead_runtime.store.postgres.signals import Signals
from bulkhead_runtime.store.spending import Begun, Finished
from bulkhead_runtime.store.sqlite import SqliteStore
from bulkhead_runtime.stores import Stores
from bulkhead_runtime.telemetry import logs


class InstantStore(SqliteStore):
    """Grants what work asks for and keeps nothing of it; only for work without a session."""

    async def begin(self, *_: Any, **__: Any) -> Begun:
        """Grant it."""
        return Begun(None, ())

    async def finish(self, *_: Any, **__: Any) -> Finished:
        """Forget it."""
        return Finished(None, ())

    async def append_events(self, _: Any) -> None:
        """Forget them."""


async def serve() -> None:
    """Serve until killed."""
    settings = Settings.from_environment()
    logs.configure("WARNING", organization=settings.organization, runtime_id=settings.runtime_id)
    runtime = Runtime(settings, Stores(InstantStore(settings.data_directory), Signals()))
    await runtime.start()
    await Listener(PublicApp(runtime), settings.host, settings.public_port).start()
    await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(serve())
