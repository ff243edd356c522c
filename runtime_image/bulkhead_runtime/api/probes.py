"""Health, readiness and metrics, on both ports."""

import orjson

from bulkhead_runtime.api.exchange import Exchange
from bulkhead_runtime.runtime import Runtime

_METRICS_TYPE = b"text/plain; version=1.0.0; charset=utf-8"


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
    """Answer in Prometheus' text format."""
    exchange.route = "/metrics"
    await exchange.respond(
        200, await runtime.render_metrics(), content_type=_METRICS_TYPE, headers=None
    )
