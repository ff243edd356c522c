"""The queue: each key once, people first, failures retried, bugs contained."""

import asyncio
from collections.abc import Callable
from itertools import pairwise

import pytest
from structlog.testing import capture_logs

from bulkhead_operator.errors import ClusterError, NotReadyYet
from bulkhead_operator.metrics import Metrics
from bulkhead_operator.reconcile.keys import DONE, ORGANIZATION, Key, Outcome
from bulkhead_operator.reconcile.queue import Queue
from tests.support.deadline import until

A, B = Key.organization("a"), Key.organization("b")


class Work:
    """A reconcile that records who runs, and that can be held up or made to fail."""

    def __init__(self) -> None:
        self.began: list[Key] = []
        self.began_at: list[float] = []
        self.at_work: list[Key] = []
        self.most_at_work = 0
        self.held = asyncio.Event()
        self.held.set()
        self.raises: list[Exception] = []
        self.outcome = DONE

    async def __call__(self, key: Key) -> Outcome:
        assert key not in self.at_work, "a key is never at work twice"
        self.began.append(key)
        self.began_at.append(asyncio.get_running_loop().time())
        self.at_work.append(key)
        self.most_at_work = max(self.most_at_work, len(self.at_work))
        try:
            await self.held.wait()
            if self.raises:
                raise self.raises.pop(0)
            return self.outcome
        finally:
            self.at_work.remove(key)


@pytest.fixture
def metrics() -> Metrics:
    return Metrics("1.2.3")


@pytest.fixture
async def work() -> Work:
    return Work()


@pytest.fixture
def make(metrics: Metrics, work: Work) -> Callable[[int], Queue]:
    def queue(workers: int) -> Queue:
        made = Queue({ORGANIZATION: work}, workers=workers, metrics=metrics.queue)
        made.open()
        return made

    return queue


async def idle(queue: Queue) -> None:
    async def is_idle() -> bool:
        return queue.idle()

    await until(is_idle, "the queue has nothing to do")


async def began(work: Work, count: int) -> None:
    async def enough() -> bool:
        return len(work.began) >= count

    await until(enough, f"{count} reconciles began")


async def test_a_key_rung_many_times_runs_once(make: Callable[[int], Queue], work: Work) -> None:
    queue = make(1)
    for _ in range(5):
        queue.ring(A)
        queue.ring(B)
    await idle(queue)
    # The first ring started A, the others asked for one more look at it.
    assert work.began.count(B) == 1
    assert work.began.count(A) <= 2


async def test_nothing_runs_before_the_queue_is_opened(metrics: Metrics, work: Work) -> None:
    queue = Queue({ORGANIZATION: work}, workers=1, metrics=metrics.queue)
    queue.ring(A)
    await asyncio.sleep(0)
    assert work.began == []
    queue.open()
    await idle(queue)
    assert work.began == [A]


async def test_a_key_rung_while_at_work_runs_again_afterwards(
    make: Callable[[int], Queue], work: Work
) -> None:
    queue = make(5)
    work.held.clear()
    queue.ring(A)
    await began(work, 1)
    queue.ring(A)
    queue.ring(A)
    await asyncio.sleep(0)
    assert work.began == [A]
    work.held.set()
    await idle(queue)
    assert work.began == [A, A]


async def test_at_most_the_given_number_is_at_work(
    make: Callable[[int], Queue], work: Work
) -> None:
    queue = make(3)
    work.held.clear()
    for number in range(20):
        queue.ring(Key.organization(f"o{number}"))
    await began(work, 3)
    work.held.set()
    await idle(queue)
    assert work.most_at_work == 3
    assert len(work.began) == 20


async def test_what_a_person_changed_overtakes_resync_but_does_not_starve_it(
    make: Callable[[int], Queue], work: Work
) -> None:
    queue = make(1)
    work.held.clear()
    queue.ring(Key.organization("first"))
    await began(work, 1)
    for number in range(40):
        queue.ring(Key.organization(f"resync{number}"), "resync")
        queue.ring(Key.organization(f"person{number}"))
    work.held.set()
    await idle(queue)
    first_half = [key.name for key in work.began[:41]]
    resynced = sum(name.startswith("resync") for name in first_half)
    assert 1 <= resynced <= 5
    assert len(work.began) == 81


async def test_resync_takes_at_most_half_of_the_workers(
    make: Callable[[int], Queue], work: Work
) -> None:
    queue = make(4)
    work.held.clear()
    for number in range(10):
        queue.ring(Key.organization(f"resync{number}"), "resync")
    await began(work, 2)
    queue.ring(A)
    await began(work, 3)
    assert work.began[2] == A
    work.held.set()
    await idle(queue)


async def test_a_ring_of_a_person_moves_a_key_out_of_resync(
    make: Callable[[int], Queue], work: Work
) -> None:
    queue = make(1)
    work.held.clear()
    queue.ring(Key.organization("first"))
    queue.ring(B, "resync")
    queue.ring(A, "resync")
    queue.ring(A)
    work.held.set()
    await idle(queue)
    assert work.began[1:] == [A, B]


@pytest.mark.parametrize(
    "failure",
    [
        pytest.param(ClusterError("Unreachable", "no answer"), id="an answer that is an error"),
        pytest.param(KeyError("a bug"), id="a bug"),
        pytest.param(NotReadyYet("Waiting", "soon", 0.01), id="something is under way"),
    ],
)
async def test_a_failed_key_is_tried_again_and_others_go_on(
    make: Callable[[int], Queue], work: Work, failure: Exception
) -> None:
    queue = make(1)
    work.raises = [failure]
    queue.ring(A)
    queue.ring(B)
    await began(work, 3)
    assert work.began == [A, B, A]


@pytest.mark.parametrize(
    ("failure", "words"),
    [
        pytest.param(ClusterError("Unreachable", "no answer"), "no answer", id="an error"),
        pytest.param(TimeoutError(), "did not answer in time", id="silence"),
        pytest.param(KeyError("a bug"), "see the exception", id="a bug"),
    ],
)
async def test_a_failure_says_why(
    make: Callable[[int], Queue], work: Work, failure: Exception, words: str
) -> None:
    queue = make(1)
    work.raises = [failure]
    with capture_logs() as lines:
        queue.ring(A)
        await began(work, 1)
        await idle(queue)
    (line,) = (one for one in lines if one["event"] == "reconcile failed")
    assert words in line["error"]


async def test_failures_wait_longer_each_time_until_one_goes_well(
    make: Callable[[int], Queue], work: Work
) -> None:
    queue = make(1)
    work.raises = [ClusterError("Unreachable", "no answer") for _ in range(2)]
    queue.ring(A)
    await began(work, 3)
    first, second = (later - former for former, later in pairwise(work.began_at))
    # 0.5 s and 1 s, each jittered by a quarter; a busy machine only adds to them.
    assert first >= 0.37
    assert second >= 0.74


async def test_an_outcome_may_ask_for_another_look(
    make: Callable[[int], Queue], work: Work, metrics: Metrics
) -> None:
    queue = make(1)
    work.outcome = Outcome(0.01)
    queue.ring(A)
    await began(work, 2)
    work.outcome = DONE
    await idle(queue)
    sample = metrics.registry.get_sample_value(
        "controller_runtime_reconcile_total",
        {"controller": "organizationruntime", "result": "requeue_after"},
    )
    assert sample is not None
    assert sample >= 1


async def test_closing_lets_what_runs_finish_and_starts_nothing_more(
    make: Callable[[int], Queue], work: Work
) -> None:
    queue = make(1)
    work.held.clear()
    queue.ring(A)
    queue.ring(B)
    await began(work, 1)
    closing = asyncio.create_task(queue.close(5))
    await asyncio.sleep(0)
    work.held.set()
    await closing
    assert work.began == [A]
    assert work.at_work == []


async def test_closing_cancels_what_does_not_finish_in_time(
    make: Callable[[int], Queue], work: Work
) -> None:
    queue = make(1)
    work.held.clear()
    queue.ring(A)
    await began(work, 1)
    await queue.close(0.01)
    assert work.at_work == []
