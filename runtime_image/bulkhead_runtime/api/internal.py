"""The internal port: probes and metrics for the cluster, state for the operator's token."""

from urllib.parse import parse_qs

from bulkhead_runtime.api import probes
from bulkhead_runtime.api.authentication import authenticate
from bulkhead_runtime.api.exchange import Exchange
from bulkhead_runtime.api.guard import answering
from bulkhead_runtime.api.types import Receive, Scope, Send
from bulkhead_runtime.errors import Problem, unknown_path
from bulkhead_runtime.runtime import Runtime

MAX_WAIT_SECONDS = 30
_MAX_HASH_LENGTH = 64


class InternalApp:
    """ASGI application of the internal port."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] == "http":
            await answering(self._runtime, scope, receive, send, self._route)

    async def _route(self, exchange: Exchange) -> None:
        match exchange.path:
            case "/health":
                await probes.health(exchange, self._runtime)
            case "/readiness":
                await probes.readiness(exchange, self._runtime)
            case "/metrics":
                await probes.metrics(exchange, self._runtime)
            case "/internal/state":
                exchange.route = "/internal/state"
                await self._state(exchange)
            case _:
                raise unknown_path()

    async def _state(self, exchange: Exchange) -> None:
        authenticate(exchange, self._runtime.internal_token)
        query = parse_qs(exchange.scope["query_string"].decode("ascii", "replace"))
        wanted = query.get("hash", [""])[0][:_MAX_HASH_LENGTH]
        seconds = _wait_seconds(query.get("waitSeconds", ["0"])[0])
        if wanted and seconds:
            await exchange.until_gone(self._runtime.wait_for(wanted, seconds))
        state = await self._runtime.state(frozenset(query.get("include", ())))
        body = state.model_dump_json(by_alias=True).encode()
        await exchange.respond(200, body, headers=None)


def _wait_seconds(text: str) -> int:
    if not (text.isascii() and text.isdecimal()) or int(text[:9]) > MAX_WAIT_SECONDS:
        raise Problem(
            422,
            "invalid_query",
            f"`waitSeconds` must be a whole number from 0 to {MAX_WAIT_SECONDS}.",
            field="waitSeconds",
        )
    return int(text)
