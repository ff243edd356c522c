"""Planted secrets come out nowhere, while the runtime works and fails in every way."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from redis import Redis as RedisClient

from bulkhead_api.runtime_config import PackageDocument
from bulkhead_api.v1alpha1.agent_package import HttpTool
from bulkhead_api.v1alpha1.authentication import Authentication
from bulkhead_api.v1alpha1.budgets import Allowance, Budgets
from bulkhead_api.v1alpha1.telemetry import Telemetry
from bulkhead_api.v1alpha1.tools import Tools
from tests.support.deadline import until
from tests.support.fault_table import FaultTable
from tests.support.postgres import Postgres
from tests.support.redis_server import Redis
from tests.support.runtime import oidc_issuer
from tests.support.runtime.canaries import Canaries
from tests.support.runtime.mcp_server import RunningMcpServer, mcp_server
from tests.support.runtime.places import Place, prices, shared, stubbed
from tests.support.runtime.telemetry_receivers import (
    CollectorServer,
    SentryServer,
    running_collector,
    running_sentry,
)
from tests.support.runtime_process import RuntimeProcess, agent
from tests.support.stub_provider import StubProvider
from tests.support.web_server import WebServer, web_server

EXECUTE = "/v1/agents/{}/execute"
FAILING = (
    "error", "error-frame", "unauthorized", "context", "cut", "garbage", "rate-limited", "unknown",
)  # fmt: skip
EXCEPTED = {("messages", "content"), ("messages", "tool_calls"), ("sessions", "summary")}
"""Columns of what users wrote."""


@dataclass
class World:
    """A runtime with everything that it can be told secrets for."""

    place: Place
    canaries: Canaries
    postgres: Postgres
    redis: Redis
    provider: StubProvider
    mcp: RunningMcpServer
    web: WebServer
    collector: CollectorServer
    sentry: SentryServer
    issuer: oidc_issuer.OidcIssuer
    answers: list[str] = field(default_factory=list)
    """Status, headers and body of every answer."""


@pytest.fixture
async def world(
    tmp_path: Path, postgres: Postgres, redis: Redis, provider: StubProvider
) -> AsyncIterator[World]:
    async with AsyncExitStack() as stack:
        place = await shared(tmp_path, postgres, redis)
        sentry = stack.enter_context(running_sentry())
        canaries = Canaries.planted(place.files, sentry_dsn=sentry.dsn)
        mcp = stack.enter_context(mcp_server(canaries["mcp/crm"]))
        await mcp.start()
        found = World(
            place,
            canaries,
            postgres,
            redis,
            provider,
            mcp,
            stack.enter_context(web_server()),
            stack.enter_context(running_collector()),
            sentry,
            stack.enter_context(oidc_issuer.running()),
        )
        _configure(found)
        yield found


def _configure(world: World) -> None:
    desk = f"http://{world.web.address}:{world.web.port}"
    tools = (
        _tool("told", f"{desk}/echo"),
        _tool("lost", f"{desk}/pages/nothing"),
    )
    models = {"words": "words", **{mode: mode for mode in FAILING}, "poor": "words"}
    agents = [agent(name, model=f"stub/{mode}") for name, mode in models.items()]
    agents += [agent("tooled", model="stub/tools", tools=("told",))]
    agents[-2] = agent("poor", model="stub/words", budget={"tokens": 1})
    sections = stubbed(world.provider, (), hasCredentials=True)
    other = sections["providers"][0].model_copy(update={"name": "other"})
    world.place.follow(
        PackageDocument.of("helper", "1.0.0", tuple(agents), tools),
        default_model="stub/words",
        providers=(*sections["providers"], other),
        prices=prices(f"stub/{mode}" for mode in ("words", "tools", *FAILING)),
        replicas=2,
        budgets=Budgets(total=Allowance(cost="1")),
        tools=_tools(world),
        authentication=_authentication(world),
        telemetry=Telemetry.model_validate(
            {
                "tracing": {
                    "endpoint": world.collector.endpoint.removesuffix("/v1/traces"),
                    "headersRef": {"name": "collector"},
                },
                "sentry": {"dsnRef": {"name": "sentry"}},
            }
        ),
    )


def _tool(name: str, url: str) -> HttpTool:
    return HttpTool(
        name=name, description="Asks the desk.", url=url, method="POST", credential="desk"
    )


def _tools(world: World) -> Tools:
    return Tools.model_validate(
        {
            "servers": [{"name": "crm", "url": world.mcp.url, "credentialsRef": {"name": "crm"}}],
            "credentials": [
                {"name": "desk", "secretRef": {"name": "desk"}, "hosts": [world.web.address]}
            ],
            "privateHosts": [world.web.address],
            "policy": {
                "rules": [
                    {"name": "not", "effect": "Deny", "match": ["crm__big"]},
                    {"name": "all", "effect": "Allow", "match": ["*"]},
                ]
            },
        }
    )


def _authentication(world: World) -> Authentication:
    return Authentication.model_validate(
        {
            "apiKeys": [
                {"name": name, "secretRef": {"name": name}, "scopes": ["agents:run"]}
                for name in ("declared", "hashed")
            ],
            "oidc": [
                {"name": "people", "issuer": world.issuer.url, "audience": oidc_issuer.AUDIENCE}
            ],
        }
    )


class Client:
    """Asks a runtime, and keeps every answer that it gets."""

    def __init__(self, world: World, runtime: RuntimeProcess, http: aiohttp.ClientSession) -> None:
        self._world = world
        self._runtime = runtime
        self._http = http

    async def ask(
        self, method: str, path: str, body: Any = None, *, key: str = "", **headers: str
    ) -> Any:
        """Return the decoded answer, None for what is no JSON."""
        token = key or self._world.canaries["api-key/token"]
        internal = path.startswith("/internal") or path == "/metrics"
        url = (self._runtime.internal_url if internal else self._runtime.url) + path
        async with self._http.request(
            method, url, json=body, headers={"Authorization": f"Bearer {token}", **headers}
        ) as response:
            text = await response.text()
        self._world.answers.append(
            f"{path.partition('?')[0]} {response.status} {response.raw_headers!r} {text}"
        )
        return await response.json() if "json" in response.content_type else None


async def _work(client: Client, canaries: Canaries) -> None:
    """Let everything work once, and everything be refused that can be."""
    said = {"message": f"My secret is {canaries['text of a user']}."}
    for name in ("words", "tooled", "poor", *FAILING):
        await client.ask("POST", EXECUTE.format(name), said)
        await client.ask("POST", EXECUTE.format(name) + "/stream", said)
    chat = {"messages": [{"role": "user", "content": said["message"]}]}
    for model in ("words", "stub/words", "other/error", "other/error-frame", "stub/unauthorized"):
        for stream in (True, False):
            await client.ask(
                "POST", "/v1/chat/completions", {**chat, "model": model, "stream": stream}
            )
    await client.ask("POST", "/v1/responses", {"model": "words", "input": said["message"]})
    for _ in range(2):
        headers = {"Idempotency-Key": canaries["idempotency key"]}
        await client.ask("POST", EXECUTE.format("words"), said, **headers)
    await client.ask("POST", EXECUTE.format("words"), {"message": "x"}, **headers)


async def _use_tools(client: Client, canaries: Canaries, mcp: RunningMcpServer) -> None:
    argument, reason = canaries["argument of a tool"], canaries["reason of a tool"]
    calls = {
        "told": {"expression": "1"},
        "lost": {},
        "crm__echo": {"text": argument},
        "crm__fail": {"reason": reason},
        "crm__big": {"characters": argument},
        "crm__add": {"a": argument},
        "calculate": {"expression": argument},
        "unknown": {"text": argument},
    }
    for tool, arguments in calls.items():
        await client.ask("POST", "/v1/tools/run", {"tool": tool, "arguments": arguments})
    await mcp.change_token("another")
    await client.ask(
        "POST", "/v1/tools/run", {"tool": "crm__echo", "arguments": {"text": argument}}
    )
    mcp.stop()
    await client.ask(
        "POST", "/v1/tools/run", {"tool": "crm__echo", "arguments": {"text": argument}}
    )


async def _knock(client: Client, canaries: Canaries, issuer: oidc_issuer.OidcIssuer) -> None:
    """Show every kind of key, good and bad, and requests that cannot be read."""
    ask = partial(client.ask, "POST", EXECUTE.format("words"), {"message": "x"})
    for name in ("api-keys/declared", "token of a key mounted as its hash", "token of a stranger"):
        await ask(key=canaries[name])
    for token in (issuer.token(), issuer.token(aud="others"), issuer.token(exp=1)):
        canaries.secret[f"token of an issuer {len(canaries.secret)}"] = token.rpartition(".")[2]
        await ask(key=token)
    await ask(Cookie=f"session={canaries['token in a cookie']}")
    query = f"?api_key={canaries['token in a query']}"
    await client.ask("GET", f"/v1/sessions{query}")
    await client.ask("GET", f"/nowhere{query}")
    refused = canaries["text that is refused"]
    for body in (
        {"message": [refused]}, {"message": "x", refused: 1}, {"message": refused * 1000},
        {"message": "x", "session_id": refused},
    ):  # fmt: skip
        await client.ask("POST", EXECUTE.format("words"), body)
    await client.ask("POST", "/v1/sessions", {"agent": refused, "metadata": refused})
    await client.ask("POST", "/v1/chat/completions", {"model": refused, "messages": refused})


async def _break_stores(client: Client, world: World) -> None:
    said = {"message": f"My secret is {world.canaries['text of a user']}."}
    await asyncio.to_thread(world.redis.kill)
    await client.ask("POST", EXECUTE.format("words"), said)
    await asyncio.to_thread(world.postgres.stop)
    await client.ask("POST", EXECUTE.format("words"), said)
    await client.ask("GET", "/v1/sessions")
    await client.ask("GET", "/readiness")
    await client.ask("GET", "/internal/state", key=world.canaries["internal/token"])
    file = world.place.files.directory / "secrets" / "postgres" / "dsn"
    right = file.read_text()
    for wrong in (right.replace("@127.0.0.1", "@nobody.invalid"), right + "?no=such", right[13:]):
        file.write_text(wrong)
        await client.ask("GET", "/v1/sessions")
    file.write_text(right)
    await asyncio.to_thread(world.postgres.start)
    await asyncio.to_thread(world.redis.start)
    await until(partial(_works, client), "the stores are used again")


async def _works(client: Client) -> bool:
    answer = await client.ask("GET", "/v1/sessions")
    return "data" in (answer or {})


async def _look_around(client: Client, world: World) -> None:
    """Read everything that tells how the runtime is."""
    for path in ("/v1/usage", "/v1/usage/ledger?limit=200", "/v1/tools", "/readiness", "/metrics"):
        await client.ask("GET", path)
    await client.ask("GET", "/internal/state", key=world.canaries["internal/token"])
    after = 0
    while (page := await client.ask("GET", f"/v1/runtime/events?limit=200&after={after}"))["data"]:
        after = page["next_after"]


async def test_planted_secrets_come_out_nowhere_however_the_runtime_works_and_fails(
    world: World, faults: FaultTable
) -> None:
    canaries = world.canaries
    with world.place.process(environment={"BULKHEAD_LOG_LEVEL": "DEBUG"}) as runtime:
        async with aiohttp.ClientSession() as http:
            client = Client(world, runtime, http)
            made = await client.ask("POST", "/v1/api-keys", {"name": "made", "scopes": ["*"]})
            canaries.secret["key made through the API"] = made["token"]
            world.answers.clear()
            await client.ask("GET", "/v1/sessions", key=made["token"])
            await _work(client, canaries)
            await _use_tools(client, canaries, world.mcp)
            await _knock(client, canaries, world.issuer)
            await _break_stores(client, world)
            await _look_around(client, world)
        runtime.terminate()
        await asyncio.to_thread(runtime.process.wait, 90)
        log = runtime.log_path.read_text()
    outputs = {
        "the log": log,
        "spans": world.collector.raw.decode(errors="replace"),
        "reports to Sentry": world.sentry.raw.decode(errors="replace"),
        **_tables(world),
    }
    told = {
        "messages": _messages(world),
        **{f"answer {number}": answer for number, answer in enumerate(world.answers)},
    }
    assert canaries["text of a user"] in told["messages"]
    assert world.collector.spans()
    found = {name: leaked for name, text in outputs.items() if (leaked := canaries.found_in(text))}
    found |= {
        name: leaked
        for name, text in told.items()
        if (leaked := canaries.found_in(text, told=True))
    }
    assert found == {}, {name: (outputs | told)[name][-700:] for name in found}
    faults.add("planted secrets", len(canaries.secret) + len(canaries.written), lost=len(found))


def _tables(world: World) -> dict[str, str]:
    """Return every column of every table but those of what users wrote."""
    columns = world.postgres.administer(
        "SELECT table_name, column_name FROM information_schema.columns "
        "WHERE table_schema = 'bulkhead'"
    )
    return {
        f"column {table}.{column}": _content(world.postgres, str(table), str(column))
        for table, column in columns
        if (table, column) not in EXCEPTED
    }


def _messages(world: World) -> str:
    """Return what is kept of conversations, in PostgreSQL and in Redis."""
    kept = [_content(world.postgres, table, column) for table, column in sorted(EXCEPTED)]
    with RedisClient.from_url(world.redis.url) as admin:
        for key in admin.scan_iter():
            kept.append(repr(key))
            if admin.type(key) == b"hash":
                kept.append(repr(admin.hgetall(key)))
    return "\n".join(kept)


def _content(postgres: Postgres, table: str, column: str) -> str:
    # Binary columns as the text that they hold, too.
    rows = postgres.administer(f'SELECT "{column}"::text, "{column}" FROM bulkhead."{table}"')
    return "\n".join(
        f"{text}\n{value.decode(errors='replace') if isinstance(value, bytes) else ''}"
        for text, value in rows
    )
