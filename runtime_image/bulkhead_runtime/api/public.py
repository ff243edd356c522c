"""The public port: authentication first, then the hot path on plain ASGI, the rest in FastAPI.

Routing and authentication go by the same `scope["path"]`; what is not listed as open needs a key,
also where nothing answers.
"""

import asyncio
import re
from collections.abc import Awaitable, Callable
from typing import Final

from bulkhead_runtime.api import chat, execute, granted, page, probes, responses, scopes, tool_runs
from bulkhead_runtime.api.authentication import Authenticator, refuse_other_organization
from bulkhead_runtime.api.bodies import refuse_unusable
from bulkhead_runtime.api.event_feed import EventFeed
from bulkhead_runtime.api.exchange import Exchange
from bulkhead_runtime.api.guard import answering
from bulkhead_runtime.api.metric_feed import MetricFeed
from bulkhead_runtime.api.types import App, Message, Receive, Scope, Send
from bulkhead_runtime.config.snapshot import MIN_BODY_BYTES
from bulkhead_runtime.errors import Problem, unknown_path
from bulkhead_runtime.runtime import Runtime

_EXECUTE: Final = re.compile(r"/v1/agents/(?P<agent>[^/]{1,63})/execute(?P<stream>/stream)?")
_WITHOUT_BODY: Final = frozenset({"GET", "HEAD", "DELETE", "OPTIONS"})
_OPEN: Final = frozenset({"/openapi.json"})
_REST: Final = re.compile(
    r"/v1/(sessions|agents|models|tools|tool-policies|model-policies|llm|usage|metrics|api-keys)"
    r"(/.*)?"
)

_POSTED: Final[dict[str, Callable[[Exchange, Runtime], Awaitable[None]]]] = {
    "/v1/chat/completions": chat.complete,
    "/v1/responses": responses.create,
    "/v1/tools/run": tool_runs.run,
}


class PublicApp:
    """ASGI application of the public port."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._rest: App | None = None
        self._building = asyncio.Lock()
        self._feed = EventFeed(runtime)
        self._metrics = MetricFeed(runtime)
        self._page = page.Page(runtime)
        self._authenticator = Authenticator(
            runtime.api_key, runtime.settings.secrets_directory, runtime.store
        )
        if runtime.holder.current is not None:
            self._authenticator.follow(runtime.holder.current)
        runtime.holder.subscribe(self._authenticator.follow)
        runtime.on_secrets(self._authenticator.reload)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] == "http":
            await answering(self._runtime, scope, receive, send, self._route)

    async def _route(self, exchange: Exchange) -> None:
        path = exchange.path
        if path == "/health":
            await probes.health(exchange, self._runtime)
        elif path == "/readiness":
            await probes.readiness(exchange, self._runtime)
        elif path == granted.PATH:
            _require_method(exchange, "POST")
            await granted.complete(exchange, self._runtime)
        elif path in _OPEN:
            await self._serve_rest(exchange)
        elif path == page.PATH or path.startswith(f"{page.PATH}/"):
            await self._page.answer(exchange)
        else:
            exchange.principal = await self._authenticator.principal_of(exchange)
            refuse_other_organization(exchange, self._runtime.settings.organization)
            await self._route_authenticated(exchange)

    async def _route_authenticated(self, exchange: Exchange) -> None:
        path = exchange.path
        if (posted := _POSTED.get(path)) is not None:
            exchange.route = path
            exchange.rated_by(self._runtime.admission)
            _require_method(exchange, "POST")
            await posted(exchange, self._runtime)
        elif match := _EXECUTE.fullmatch(path):
            await self._execute(exchange, match["agent"], stream=match["stream"] is not None)
        elif path == "/v1/runtime/events":
            exchange.route = path
            _require_method(exchange, "GET")
            await self._feed.answer(exchange)
        elif path == "/v1/metrics/stream":
            exchange.route = path
            _require_method(exchange, "GET")
            await self._metrics.answer(exchange)
        elif path == "/metrics":
            _require_method(exchange, "GET")
            scopes.require(exchange.principal, scopes.USAGE_READ)
            await probes.metrics(exchange, self._runtime)
        elif _REST.fullmatch(path):
            await self._serve_rest(exchange)
        else:
            raise unknown_path()

    async def _execute(self, exchange: Exchange, agent: str, *, stream: bool) -> None:
        _require_method(exchange, "POST")
        exchange.rated_by(self._runtime.admission)
        if stream:
            exchange.route = "/v1/agents/{agent}/execute/stream"
            await execute.execute_stream(exchange, self._runtime, agent)
        else:
            exchange.route = "/v1/agents/{agent}/execute"
            await execute.execute(exchange, self._runtime, agent)

    async def _serve_rest(self, exchange: Exchange) -> None:
        """Hand over to FastAPI, which is imported by the first request that needs it."""
        rest = self._rest or await self._build_rest()
        receive = exchange.receive
        exchange.scope["exchange"] = exchange
        if exchange.method not in _WITHOUT_BODY:
            body = await exchange.read_json(MIN_BODY_BYTES)
            refuse_unusable(body)
            receive = _replay(body, receive)

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                exchange.route = getattr(exchange.scope.get("route"), "path", exchange.route)
                ours = exchange.start(message["status"])
                message["headers"] = [*ours, *message.get("headers", ())]
            await exchange.send(message)

        await rest(exchange.scope, receive, send_with_headers)

    async def _build_rest(self) -> App:
        async with self._building:
            if self._rest is None:
                self._rest = await asyncio.to_thread(
                    _import_rest, self._runtime, self._authenticator
                )
            return self._rest


def _replay(body: bytes, receive: Receive) -> Receive:
    """Return a `receive` that brings a body which was read, bounded, before."""
    pending: list[Message] = [{"type": "http.request", "body": body}]

    async def replay() -> Message:
        return pending.pop() if pending else await receive()

    return replay


def _import_rest(runtime: Runtime, authenticator: Authenticator) -> App:
    from bulkhead_runtime.api.rest.app import create_app  # noqa: PLC0415 (40 MB, a quarter second)

    app: App = create_app(runtime, authenticator.stored)
    return app


def _require_method(exchange: Exchange, method: str) -> None:
    if exchange.method != method:
        exchange.note((b"allow", method.encode()))
        raise Problem(405, "method_not_allowed", f"Only {method} is answered here.")
