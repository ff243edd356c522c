"""Health, readiness and metrics, on both ports."""

import asyncio

import orjson

from bulkhead_runtime.api.exchange import Exchange
from bulkhead_runtime.runtime import Runtime
from bulkhead_runtime.telemetry.instruments import Reading


async def health(exchange: Exchange, runtime: Runtime) -> None:
    """Say whether a restart would help: only when the store found itself damaged."""
    exchange.route = "/health"
    ok = not runtime.store.corrupt
    body = {"status": "ok" if ok else "damaged_store"}
    await exchange.respond(200 if ok else 503, orjson.dumps(body), headers=None)


async def readiness(exchange: Exchange, runtime: Runtime) -> None:
    """Say whether traffic should come here, dependency by dependency."""
    exchange.route = "/readiness"
    state = await runtime.readiness()
    body = {
        "ready": state.ready,
        "draining": state.draining,
        "dependencies": {
            dependency.name: {"ok": dependency.ok, "message": dependency.message}
            for dependency in state.dependencies
        },
    }
    await exchange.respond(200 if state.ready else 503, orjson.dumps(body), headers=None)


async def metrics(exchange: Exchange, runtime: Runtime) -> None:
    """Answer in Prometheus' text format, or in OpenMetrics where the header `Accept` asks for it.

    Rendered off the event loop: many series take long.
    """
    exchange.route = "/metrics"
    readings = await runtime.read_metrics()
    accept = exchange.headers.get(b"accept", b"").decode("latin-1")
    text, media_type = await asyncio.to_thread(_rendered, readings, accept)
    await exchange.respond(200, text, content_type=media_type.encode(), headers=None)


def _rendered(readings: tuple[Reading, ...], accept: str) -> tuple[bytes, str]:
    from bulkhead_runtime.telemetry.exposition import render  # noqa: PLC0415 (a tenth of a second)

    return render(readings, accept)
