"""Two organizations on one PostgreSQL and one Redis: nothing of one reaches the other."""

import random
import secrets
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import psycopg
import pytest
import pytest_asyncio
from psycopg import sql
from redis import Redis as RedisClient
from redis.exceptions import NoPermissionError

from bulkhead_api.v1alpha1.budgets import Allowance, Budgets
from tests.support.deadline import until
from tests.support.fault_table import FaultTable
from tests.support.postgres import Postgres, shared_postgres
from tests.support.redis_server import Redis, shared_redis
from tests.support.runtime.places import Place, answered, shared, stubbed
from tests.support.runtime_process import RuntimeProcess, agent, client, document
from tests.support.stub_provider import StubProvider

ATTACKS = 1_000
FEWER_ATTACKS = 200
SESSIONS = 5
EXECUTE = "/v1/agents/assistant/execute"
LETS_ALL = {"rules": [{"name": "all", "effect": "Allow", "match": ["*"]}]}
STREAM = "/v1/agents/assistant/execute/stream"
WRITTEN_BY_THE_CLOCK = {"figures"}
"""Tables in which processes record what they counted, refused requests too, in their own time."""


@dataclass
class Organization:
    """One of the two, and what there is of it that another could try."""

    name: str
    place: Place
    runtime: RuntimeProcess
    token: str
    sessions: list[str] = field(default_factory=list)
    responses: list[str] = field(default_factory=list)
    cursors: dict[str, str] = field(default_factory=dict)
    policies: list[str] = field(default_factory=list)
    repeated: dict[str, dict[str, str]] = field(default_factory=dict)
    """Idempotency keys and the bodies that were sent with them."""

    marks: set[str] = field(default_factory=set)
    """What nobody else may ever be told."""


@dataclass(frozen=True)
class Attack:
    """A request of another organization, and the statuses with which it may end."""

    method: str
    path: str
    ends: tuple[int, ...]
    body: Any = None
    headers: dict[str, str] = field(default_factory=dict)
    at_home: bool = True
    """Whether it is sent to the attacker's own endpoint, or else to the victim's."""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def postgres() -> Postgres:
    """The PostgreSQL of this test process, to which these tests do nothing."""
    return await shared_postgres()


@pytest.fixture(scope="module")
def redis() -> Redis:
    """The Redis of this test process, to which these tests do nothing."""
    return shared_redis()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def organizations(
    tmp_path_factory: pytest.TempPathFactory,
    postgres: Postgres,
    redis: Redis,
    provider: StubProvider,
) -> AsyncIterator[tuple[Organization, Organization]]:
    directory = tmp_path_factory.mktemp("organizations")
    async with AsyncExitStack() as stack:
        found = []
        for name in ("acme", "globex"):
            place = await shared(directory / name, postgres, redis, name=name)
            place.files.api_key.switch({"token": secrets.token_urlsafe(24).encode()})
            place.follow(
                document("1.0.0", agent(cache_seconds=600)),
                default_model="stub/words",
                replicas=2,
                budgets=Budgets(total=Allowance(cost="1")),
                **stubbed(provider, ("words",)),
            )
            runtime = stack.enter_context(place.process())
            token = (place.files.api_key.directory / "token").read_text()
            found.append(Organization(name, place, runtime, token))
            await _live(found[-1])
            await _until_written(postgres, found[-1])
        yield found[0], found[1]


async def _live(own: Organization) -> None:
    """Leave something of everything that there can be."""
    name = own.name
    async with client(own.runtime, key=own.token) as http:
        for number in range(SESSIONS):
            mark = f"{name}-says-{secrets.token_hex(8)}"
            key, body = f"retry-{number}", {"message": f"the same {number}"}
            one = await answered(http, EXECUTE, {"message": mark, "title": mark})
            two = await answered(http, EXECUTE, body, **{"Idempotency-Key": key})
            told = await answered(http, "/v1/responses", {"model": "assistant", "input": mark})
            own.repeated[key] = body
            own.sessions += [one["session_id"], two["session_id"]]
            own.responses.append(told["id"])
            own.marks |= {mark, *own.sessions, told["id"]}
            for kind in ("tool", "model"):
                policy = f"{name}-{kind}-{number}"
                await answered(http, f"/v1/{kind}-policies", {"name": policy, **LETS_ALL})
                own.policies.append(f"/v1/{kind}-policies/{policy}")
        made = {"name": f"{name}-key", "scopes": ["*"], "principal": f"{name}-person"}
        own.marks.add((await answered(http, "/v1/api-keys", made))["token"])
        for path in (
            "/v1/sessions",
            "/v1/usage/ledger",
            f"/v1/sessions/{own.sessions[0]}/messages",
        ):
            async with http.get(path, params={"limit": "1"}) as response:
                own.cursors[path.rpartition("/")[2]] = (await response.json())["next_cursor"]


async def _until_written(postgres: Postgres, own: Organization) -> None:
    """Wait for what is written after the answer: each execution's end, and the last event."""
    of_it = f"WHERE organization = '{own.place.organization}'"

    async def written() -> bool:
        (counts,) = postgres.administer(
            f"SELECT (SELECT count(*) FROM bulkhead.ledger {of_it}),"
            f"(SELECT count(*) FROM bulkhead.events {of_it} AND type = 'key.created')"
        )
        return tuple(counts) == (3 * SESSIONS, 1)

    await until(written, f"all that {own.name} did is written")


def _reads(rng: random.Random, own: Organization) -> Attack:
    session = f"/v1/sessions/{rng.choice(own.sessions)}"
    path = rng.choice(["", "/export", "/messages", f"/messages?cursor={own.cursors['messages']}"])
    return Attack("GET", session + path, (404,))


def _writes(rng: random.Random, own: Organization) -> Attack:
    session = f"/v1/sessions/{rng.choice(own.sessions)}"
    return rng.choice(
        [Attack("DELETE", session, (404,)), Attack("POST", f"{session}/interrupt", (404,), {})]
    )


def _continues(rng: random.Random, own: Organization) -> Attack:
    body = {"message": "go on", "session_id": rng.choice(own.sessions)}
    key = {"Idempotency-Key": secrets.token_hex(8)} if rng.random() < 0.5 else {}
    return Attack("POST", rng.choice([EXECUTE, STREAM]), (404,), body, key)


def _follows(rng: random.Random, own: Organization) -> Attack:
    body = {"model": "assistant", "input": "x", "previous_response_id": rng.choice(own.responses)}
    return Attack("POST", "/v1/responses", (400, 404), body)


def _repeats(rng: random.Random, own: Organization) -> Attack:
    key, body = rng.choice(list(own.repeated.items()))
    return Attack("POST", EXECUTE, (200,), body, {"Idempotency-Key": key})


def _pages(rng: random.Random, own: Organization) -> Attack:
    path, cursor = rng.choice(
        [("/v1/sessions", own.cursors["sessions"]), ("/v1/usage/ledger", own.cursors["ledger"])]
    )
    return Attack("GET", f"{path}?limit=200&cursor={cursor}", (200, 422))


def _watches(rng: random.Random, own: Organization) -> Attack:
    query = rng.choice(
        [
            f"session_id={rng.choice(own.sessions)}",
            f"principal={own.name}-person",
            f"after={rng.randrange(50)}",
        ]
    )
    return Attack("GET", f"/v1/runtime/events?limit=200&{query}", (200,))


def _counts(rng: random.Random, own: Organization) -> Attack:
    return Attack("GET", f"/v1/usage?by=principal&by=agent&principal={own.name}-person", (200,))


def _removes(rng: random.Random, own: Organization) -> Attack:
    paths = [f"/v1/api-keys/{own.name}-key", *own.policies]
    return Attack("DELETE", rng.choice(paths), (404,))


def _pretends(rng: random.Random, own: Organization) -> Attack:
    path = rng.choice(["/v1/sessions", f"/v1/sessions/{rng.choice(own.sessions)}", "/v1/usage"])
    headers = {"X-Org-Id": own.place.organization}
    if rng.random() < 0.5:
        headers["Authorization"] = f"Bearer {own.token}"
    return Attack("GET", path, (401, 403), headers=headers)


def _borrows(rng: random.Random, own: Organization) -> Attack:
    """Shows the victim's key to the wrong endpoint."""
    headers = {"Authorization": f"Bearer {rng.choice(sorted(own.marks | {own.token}))}"}
    return Attack("GET", rng.choice(["/v1/sessions", "/v1/api-keys"]), (401,), headers=headers)


def _visits(rng: random.Random, own: Organization) -> Attack:
    """Shows its own key to the victim's endpoint."""
    path = rng.choice(["/v1/sessions", f"/v1/sessions/{rng.choice(own.sessions)}", "/v1/api-keys"])
    return Attack(rng.choice(["GET", "POST", "DELETE"]), path, (401,), at_home=False)


WAYS: tuple[Callable[[random.Random, Organization], Attack], ...] = (
    _reads, _writes, _continues, _follows, _repeats, _pages, _watches, _counts, _removes,
    _pretends, _borrows, _visits,
)  # fmt: skip


async def test_no_request_of_another_organization_reads_or_changes_anything(
    organizations: tuple[Organization, Organization],
    postgres: Postgres,
    redis: Redis,
    faults: FaultTable,
) -> None:
    victim, attacker = organizations
    rng = random.Random(20261121)
    before = await _at_rest(postgres, redis, victim)
    count = ATTACKS if faults.every else FEWER_ATTACKS
    leaked = 0
    async with client(attacker.runtime, key=attacker.token) as http:
        for number in range(count):
            attack = WAYS[number % len(WAYS)](rng, victim)
            leaked += await _leaks(http, attack, attacker, victim)
    assert await _at_rest(postgres, redis, victim) == before
    await _assert_all_that_was_tried_is_there(victim)
    faults.add("requests of another organization", count, lost=leaked)


async def _leaks(
    http: aiohttp.ClientSession, attack: Attack, attacker: Organization, victim: Organization
) -> bool:
    home = attacker if attack.at_home else victim
    async with http.request(
        attack.method, home.runtime.url + attack.path, json=attack.body, headers=attack.headers
    ) as response:
        text = await response.text()
    assert response.status in attack.ends, (attack, response.status, text)
    return any(mark in text for mark in victim.marks)


async def _at_rest(postgres: Postgres, redis: Redis, own: Organization) -> dict[str, object]:
    """Return all that was left in the stores of an organization, once nothing is being written."""
    found = [_dump(postgres, redis, own)]

    async def rests() -> bool:
        found.append(_dump(postgres, redis, own))
        return found[-1] == found[-2]

    await until(rests, "the organization is at rest")
    return found[-1]


def _dump(postgres: Postgres, redis: Redis, own: Organization) -> dict[str, object]:
    name = own.place.organization
    rows: dict[str, object] = {
        table: postgres.administer(
            f"SELECT t::text FROM bulkhead.{table} AS t WHERE organization = '{name}' ORDER BY 1"
        )
        for table in _tables(postgres)
        if table not in WRITTEN_BY_THE_CLOCK
    }
    with RedisClient.from_url(redis.url) as admin:
        # Sessions as they are cached; windows of rates go by themselves.
        for key in sorted(admin.scan_iter(f"bulkhead:{name}:session:*")):
            rows[repr(key)] = admin.hgetall(key)
    return rows


def _tables(postgres: Postgres) -> list[str]:
    return [
        str(name)
        for (name,) in postgres.administer(
            "SELECT table_name FROM information_schema.columns "
            "WHERE table_schema = 'bulkhead' AND column_name = 'organization' ORDER BY 1"
        )
    ]


async def _assert_all_that_was_tried_is_there(victim: Organization) -> None:
    """Assert that what was tried in vain works for whom it belongs to."""
    async with client(victim.runtime, key=victim.token) as http:
        for session_id in victim.sessions:
            async with http.get(f"/v1/sessions/{session_id}") as response:
                assert response.status == 200
        for key, body in victim.repeated.items():
            async with http.post(EXECUTE, json=body, headers={"Idempotency-Key": key}) as response:
                assert response.headers["Idempotency-Replayed"] == "true"


async def test_a_role_of_one_organization_reaches_no_row_of_another_in_any_table(
    organizations: tuple[Organization, Organization],
    postgres: Postgres,
    redis: Redis,
    faults: FaultTable,
) -> None:
    victim, attacker = organizations
    before = await _at_rest(postgres, redis, victim)
    dsn = (attacker.place.files.directory / "secrets" / "postgres" / "dsn").read_text()
    tables = _tables(postgres)
    reached = 0
    with psycopg.connect(dsn, autocommit=True) as connection:
        for table in tables:
            for statement in (
                "SELECT * FROM {} WHERE organization = {}",
                "UPDATE {} SET organization = organization WHERE organization = {}",
                "DELETE FROM {} WHERE organization = {}",
                "INSERT INTO {} (organization) VALUES ({})",
            ):
                question = sql.SQL(statement).format(
                    sql.Identifier("bulkhead", table), victim.place.organization
                )
                reached += _reached(connection, question)
    assert await _at_rest(postgres, redis, victim) == before
    assert all(before[table] for table in ("sessions", "messages", "ledger", "claims", "events"))
    faults.add("statements of another organization's role", 4 * len(tables), lost=reached)


def _reached(connection: psycopg.Connection, question: sql.Composed) -> int:
    try:
        return max(0, connection.execute(question).rowcount)
    except psycopg.errors.InsufficientPrivilege:
        return 0


async def test_a_user_of_one_organization_reaches_no_key_of_another_in_redis(
    organizations: tuple[Organization, Organization], redis: Redis, faults: FaultTable
) -> None:
    victim, attacker = organizations
    url = (attacker.place.files.directory / "secrets" / "redis" / "url").read_text()
    with RedisClient.from_url(redis.url) as admin:
        keys = list(admin.scan_iter(f"bulkhead:{victim.place.organization}:*"))
        commands = ("HGETALL", "GET", "DEL", "TTL", "HSET", "SET", "EXPIRE", "DUMP", "KEYS")
        assert keys
        with RedisClient.from_url(url) as user:
            for key in keys:
                for command in commands:
                    given = {"HSET": ["a", "b"], "SET": ["a"], "EXPIRE": ["1"]}.get(command, [])
                    with pytest.raises(NoPermissionError):
                        user.execute_command(command, key, *given)
        assert set(keys) >= set(admin.scan_iter(f"bulkhead:{victim.place.organization}:*"))
    faults.add("commands of another organization's user", len(keys) * len(commands))
