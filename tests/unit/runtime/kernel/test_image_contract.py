"""The contract of images, by the example that keeps it and by images that break one promise."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.support import stub_image
from tests.support.deadline import until
from tests.support.ports import free_port
from tests.support.runtime_process import REPOSITORY
from tests.support.stub_image import HELLO, Answer

PATHS = os.pathsep.join(str(REPOSITORY / part) for part in ("crds", "runtime_image"))


@contextmanager
def example(port: int) -> Iterator[subprocess.Popen[bytes]]:
    program = str(REPOSITORY / "examples" / "dedicated" / "server.py")
    process = subprocess.Popen([sys.executable, program, str(port)])
    try:
        yield process
    finally:
        process.kill()
        process.wait()


async def listens(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return False
    writer.close()
    return True


async def examined(url: str, agent: str, seconds: str = "20") -> tuple[int, str]:
    """Run the command as the author of an image does; return its status and what it says."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "bulkhead_runtime.conformance", url, "--agent", agent, "--seconds", seconds),
        env={**os.environ, "PYTHONPATH": PATHS},
        stdout=asyncio.subprocess.PIPE,
    )
    said, _ = await process.communicate()
    return process.returncode or 0, said.decode()


async def test_the_example_keeps_the_contract_and_ends_when_it_is_told_to() -> None:
    port = free_port()
    with example(port) as process:
        await until(lambda: listens(port), "the example listens")
        status, said = await examined(f"http://127.0.0.1:{port}", "parcels")
        process.send_signal(signal.SIGTERM)
        ended = await asyncio.to_thread(process.wait, 30)
    assert status == 0, said
    assert "10 of 10 promises are kept" in said
    assert ended == 0


BROKEN = {
    "is never healthy": (Answer(HELLO), False, "FAIL  GET /bulkhead/v1/health"),
    "says nothing": (Answer([{"type": "done"}]), True, "neither text nor tool calls"),
    "never says that it is done": (Answer(HELLO[:2]), True, "ended its answer early"),
    "sends events of its own": (Answer([{"type": "x"}]), True, "the contract does not know"),
    "is at work for ever": (Answer(HELLO[:1], holds=True), True, "FAIL  An answer ends"),
    "answers for agents that it does not have": (
        Answer(HELLO),
        True,
        "FAIL  An agent that is not in the image",
    ),
    "takes whatever it is sent": (Answer(HELLO), True, "FAIL  A body that is no request"),
}


@pytest.mark.parametrize("case", BROKEN)
async def test_the_command_tells_of_an_image_that(case: str) -> None:
    answer, is_healthy, words = BROKEN[case]
    async with stub_image.running() as image:
        image.healthy, image.script = is_healthy, [answer]
        patience = "1" if answer.holds else "20"
        status, said = await examined(image.endpoint, "anybody", patience)
    assert status == 1
    assert words in said


async def test_the_command_tells_of_an_image_that_is_not_there() -> None:
    status, said = await examined("http://127.0.0.1:9", "anybody")
    assert status == 1
    assert "cannot be connected to" in said
    assert "0 of 10 promises are kept" in said
