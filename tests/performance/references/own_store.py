"""Serves the runtime's public port over parts of a row's own."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import uvloop

from bulkhead_runtime.api.public import PublicApp
from bulkhead_runtime.runtime import Runtime
from bulkhead_runtime.server import Listener, settle_interpreter
from bulkhead_runtime.settings import Settings
from bulkhead_runtime.store.postgres.signals import Signals
from bulkhead_runtime.store.sqlite import SqliteStore
from bulkhead_runtime.stores import Stores
from bulkhead_runtime.telemetry import logs
from bulkhead_runtime.telemetry.instruments import Instruments


def serve(
    make_store: Callable[[Path], SqliteStore], instruments: Instruments | None = None
) -> None:
    """Serve until killed; what is logged is what the runtime logs by default."""
    uvloop.run(_serve(make_store, instruments))


async def _serve(
    make_store: Callable[[Path], SqliteStore], instruments: Instruments | None
) -> None:
    settings = Settings.from_environment()
    logs.configure(
        settings.log_level, organization=settings.organization, runtime_id=settings.runtime_id
    )
    stores = Stores(make_store(settings.data_directory), Signals())
    runtime = Runtime(settings, stores, instruments)
    await runtime.start()
    await Listener(PublicApp(runtime), settings.host, settings.public_port).start()
    settle_interpreter()
    await asyncio.Event().wait()
