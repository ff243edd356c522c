"""Events, logs, probes, supervision, resync and the runtimes' port: the small edges."""

import asyncio
import json
import logging
from collections import Counter
from collections.abc import AsyncIterator

import pytest
import structlog
from aiohttp import web

from bulkhead_api.names import API_VERSION
from bulkhead_api.runtime_state import RuntimeState
from bulkhead_operator import logs
from bulkhead_operator.backoff import Backoff
from bulkhead_operator.cluster.client import ApiClient, unfenced
from bulkhead_operator.cluster.credentials import Credentials
from bulkhead_operator.cluster.events import WAITING, Events, Occurrence, manifest
from bulkhead_operator.cluster.port import ObjectKey
from bulkhead_operator.cluster.runtime_api import LONGEST_ANSWER, RuntimeClient
from bulkhead_operator.errors import ClusterError
from bulkhead_operator.probes import Heartbeat
from bulkhead_operator.reconcile.keys import Key
from bulkhead_operator.reconcile.resync import shares
from bulkhead_operator.supervision import keep_running
from tests.support.answering import answering

KEY = ObjectKey(API_VERSION, "OrganizationRuntime", None, "acme")


class Told:
    """Events with a clock of the test's; nothing is sent, since nobody runs the sender."""

    def __init__(self) -> None:
        self.now = 0.0
        self.dropped = 0
        self.events = Events(
            ApiClient(Credentials("http://127.0.0.1:1"), user_agent="x"),
            fence=unfenced,
            instance="one",
            on_drop=self.drop,
            clock=lambda: self.now,
        )

    def drop(self) -> None:
        self.dropped += 1

    def tell(self, note: str, reason: str = "Suspended") -> bool:
        return self.events.tell(Occurrence(KEY, "uid", "Normal", reason, note))


@pytest.fixture
async def told() -> Told:
    return Told()


async def test_the_same_is_told_once_in_ten_minutes(told: Told) -> None:
    assert told.tell("stopped")
    assert not told.tell("stopped")
    assert told.tell("stopped again")
    assert told.tell("stopped", reason="Other")
    told.now = 601
    assert told.tell("stopped again")


async def test_what_is_too_much_is_dropped_and_counted(told: Told) -> None:
    for number in range(WAITING + 3):
        told.tell(f"note {number}")
    assert told.dropped == 3


async def test_an_event_is_as_the_api_server_takes_it() -> None:
    found = manifest(Occurrence(KEY, "uid", "Warning", "Stalled", "n" * 3000), "default", "one")
    assert len(found["note"]) == 1024
    assert found["regarding"] == {
        "apiVersion": API_VERSION,
        "kind": "OrganizationRuntime",
        "name": "acme",
        "uid": "uid",
    }


def test_all_loggers_write_one_json_line_with_ids_and_without_secrets(
    capsys: pytest.CaptureFixture[str],
) -> None:
    root = logging.getLogger()
    before, level = list(root.handlers), root.level
    try:
        logs.configure("INFO")
        with structlog.contextvars.bound_contextvars(name="acme"):
            structlog.get_logger("bulkhead_operator.test").info(
                "done", token="very-secret", long="x" * 9000
            )
            logging.getLogger("kopf.objects").warning("from a library")
        logging.getLogger("kopf.objects").info("a whole body")
    finally:
        root.handlers[:] = before
        root.setLevel(level)
        structlog.reset_defaults()
    ours, library = (json.loads(line) for line in capsys.readouterr().err.splitlines())
    assert (ours["event"], ours["name"], ours["token"]) == ("done", "acme", "(hidden)")
    assert len(ours["long"]) < 5000
    assert (library["event"], library["name"]) == ("from a library", "acme")


def test_a_stuck_event_loop_is_a_problem_and_a_mended_one_is_not() -> None:
    heart = Heartbeat()
    heart.measured(6.0)
    assert heart.problems() == ("the event loop was 6.0 s late",)
    heart.measured(0.01)
    assert heart.problems() == ()


async def test_a_part_that_ends_or_dies_is_started_again() -> None:
    starts: list[int] = []
    restarts: list[str] = []
    lives = asyncio.Event()

    async def part() -> None:
        starts.append(1)
        if len(starts) == 1:
            raise RuntimeError("died")
        if len(starts) == 2:
            return
        lives.set()
        await asyncio.Event().wait()

    task = asyncio.create_task(keep_running("part", part, restarts.append))
    async with asyncio.timeout(60):
        await lives.wait()
    assert restarts == ["part", "part"]
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


def test_waits_double_up_to_the_cap_and_begin_again() -> None:
    backoff = Backoff(1, 10)
    waits = [backoff.next() for _ in range(20)]
    assert 0.75 <= waits[0] <= 1.25
    assert 1.5 <= waits[1] <= 2.5
    assert all(wait <= 10 for wait in waits)
    backoff.reset()
    assert backoff.next() <= 1.25


@pytest.mark.parametrize(("count", "ticks"), [(0, 60), (1, 60), (59, 60), (1000, 60)])
def test_resync_deals_every_key_once_and_evenly(count: int, ticks: int) -> None:
    keys = [Key.organization(f"o{number}") for number in range(count)]
    dealt = shares(keys, ticks)
    assert Counter(key for share in dealt for key in share) == Counter(keys)
    sizes = [len(share) for share in dealt]
    assert max(sizes) - min(sizes) <= 1


STATE = RuntimeState(
    organization="acme", runtime_id="r", runtime_version="1", configuration_hash="h"
)


class Runtime:
    """Stands in for a runtime, which runs a tenant's code and may answer anything."""

    def __init__(self) -> None:
        self.status = 200
        self.content = STATE.model_dump_json(by_alias=True).encode()
        self.asked: list[tuple[str, str]] = []

    async def handle(self, request: web.BaseRequest) -> web.Response:
        self.asked.append((request.path_qs, request.headers["Authorization"]))
        headers = {"Location": "/internal/state"} if self.status == 302 else {}
        return web.Response(status=self.status, body=self.content, headers=headers)


@pytest.fixture
def runtime() -> Runtime:
    return Runtime()


@pytest.fixture
async def asking(runtime: Runtime) -> AsyncIterator[RuntimeClient]:
    async with (
        answering(runtime.handle) as port,
        RuntimeClient(user_agent="x", port=port) as client,
    ):
        yield client


async def test_a_runtime_is_asked_with_its_token(runtime: Runtime, asking: RuntimeClient) -> None:
    state = await asking.state("127.0.0.1", "t0ken", configuration_hash="h", wait_seconds=90)
    assert state == STATE
    assert runtime.asked == [("/internal/state?hash=h&waitSeconds=30", "Bearer t0ken")]


@pytest.mark.parametrize(
    ("status", "content"),
    [
        pytest.param(401, b"{}", id="refuses"),
        pytest.param(302, b"", id="sends elsewhere"),
        pytest.param(200, b"canary", id="says no JSON"),
        pytest.param(200, b'{"organization": 5}', id="says something else"),
        pytest.param(200, b"x" * (LONGEST_ANSWER + 1), id="says too much"),
    ],
)
async def test_a_runtime_that_answers_badly_is_an_error_without_its_words(
    runtime: Runtime, asking: RuntimeClient, status: int, content: bytes
) -> None:
    runtime.status, runtime.content = status, content
    with pytest.raises(ClusterError) as raised:
        await asking.state("127.0.0.1", "t0ken", configuration_hash="h", wait_seconds=0)
    assert "t0ken" not in str(raised.value)
    assert "canary" not in str(raised.value)
    assert len(runtime.asked) == 1
