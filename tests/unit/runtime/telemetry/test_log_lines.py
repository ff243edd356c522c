"""What a process logs: one JSON object a line whatever happens, with ids and levels to rely on."""

import asyncio
import json
import logging
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bulkhead_api.runtime_config import ProviderConfig
from bulkhead_runtime.telemetry.logs import JsonFormatter
from tests.support import stub_provider
from tests.support.deadline import until
from tests.support.runtime_process import RuntimeFiles, RuntimeProcess, agent, client, document

LEVELS = {"debug", "info", "warning", "error", "critical"}
OF_THE_PROCESS = {"timestamp", "level", "logger", "event", "organization", "runtime_id"}
OF_AN_EXECUTION = {"request_id", "trace_id", "principal", "run_id", "agent"}
MESSAGE = "a message that nobody may find in a log"
DIES = """
import logging, threading, warnings
from bulkhead_runtime.telemetry import logs
logs.configure("INFO", organization="acme", runtime_id="rt")
def fail(): raise ValueError("in a\\nthread")
thread = threading.Thread(target=fail); thread.start(); thread.join()
warnings.warn("a library\\nwarns", stacklevel=1)
raise RuntimeError("at the\\nend")
"""


@pytest.fixture(scope="module")
def runtime(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RuntimeProcess]:
    files = RuntimeFiles(tmp_path_factory.mktemp("runtime"))
    with stub_provider.running() as stub:
        provider = ProviderConfig(name="stub", type="OpenAICompatible", base_url=stub.base_url)
        agents = (agent(), agent("failing", model="stub/unauthorized"))
        files.follow((document("1.0.0", *agents), 100), providers=(provider,))
        with RuntimeProcess(files) as process:
            yield process


async def _ended(runtime: RuntimeProcess, request_id: str) -> dict[str, Any]:
    """Return the line that tells how an execution ended."""
    found: list[dict[str, Any]] = []

    async def logged() -> bool:
        found[:] = [
            line
            for line in runtime.logs()
            if line["event"] == "Execution ended" and line["request_id"] == request_id
        ]
        return bool(found)

    await until(logged, "the execution's end is logged")
    return found[0]


async def _ask(runtime: RuntimeProcess, to: str, message: str = MESSAGE) -> dict[str, Any]:
    async with (
        client(runtime) as http,
        http.post(f"/v1/agents/{to}/execute", json={"message": message}) as response,
    ):
        await response.read()
        request_id = response.headers["x-request-id"]
    return await _ended(runtime, request_id)


async def test_the_end_of_an_execution_is_logged_with_every_id_and_figure(
    runtime: RuntimeProcess,
) -> None:
    line = await _ask(runtime, "assistant")
    assert line.keys() >= OF_THE_PROCESS | OF_AN_EXECUTION | {"session_id"}
    assert (line["level"], line["outcome"], line["agent"]) == ("info", "completed", "assistant")
    assert line["input_characters"] == len(MESSAGE)
    assert line["history_messages"] == 0
    assert line["output_tokens"] > 0


async def test_a_failure_is_a_warning_and_a_refusal_the_course_of_things(
    runtime: RuntimeProcess,
) -> None:
    failed = await _ask(runtime, "failing")
    refused = await _ask(runtime, "assistant", "x" * 1_000_000)
    assert (failed["level"], failed["outcome"]) == ("warning", "error")
    assert (refused["level"], refused["outcome"]) == ("info", "refused")
    assert refused["code"] == "input_too_long"


async def test_whatever_clients_send_every_line_is_an_object_with_the_same_head(
    runtime: RuntimeProcess,
) -> None:
    for raw in (b"\x16\x03\x01\x00", b"GET / HTTP/9.9\r\n\r\n", b"POST /v1/x HTTP/1.1\r\n\r\n"):
        reader, writer = await asyncio.open_connection("127.0.0.1", runtime.port)
        writer.write(raw)
        await writer.drain()
        writer.write_eof()
        await reader.read()
        writer.close()
    await _ask(runtime, "assistant", "last")
    lines = [json.loads(line) for line in runtime.log_path.read_text().splitlines()]
    assert all(line.keys() >= OF_THE_PROCESS for line in lines)
    assert {line["level"] for line in lines} <= LEVELS
    assert {(line["organization"], line["runtime_id"]) for line in lines} == {("acme", "rt-test")}
    assert MESSAGE not in runtime.log_path.read_text()


def test_what_ends_a_process_or_a_thread_and_what_libraries_warn_of_are_lines_too() -> None:
    done = subprocess.run(
        [sys.executable, "-c", DIES],
        capture_output=True,
        text=True,
        check=False,
        env={"PYTHONPATH": ":".join(sys.path)},
    )
    lines = [json.loads(line) for line in done.stderr.splitlines()]
    assert [(line["level"], line["event"].partition(":")[0]) for line in lines] == [
        ("error", "Thread ended"),
        ("warning", "<string>"),
        ("critical", "Process ends"),
    ]
    assert "RuntimeError: at the\nend" in lines[2]["exception"]
    assert done.returncode == 1


def test_a_process_without_settings_says_so_in_a_line(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "bulkhead_runtime"],
        capture_output=True,
        text=True,
        check=False,
        env={"PYTHONPATH": ":".join(sys.path)},
        cwd=tmp_path,
    )
    (line,) = done.stderr.splitlines()
    assert json.loads(line)["reason"].startswith("BULKHEAD_ORGANIZATION must be set")
    assert done.returncode == 2


@pytest.mark.parametrize(
    "value",
    [
        pytest.param("half \udc80 of a pair", id="text that is not Unicode"),
        pytest.param(2**70, id="an integer beyond 64 bits"),
        pytest.param({1: object()}, id="keys that are no text"),
        pytest.param("two\nlines\r\u2028three", id="line breaks"),
    ],
)
def test_no_value_breaks_a_line(value: object) -> None:
    fields = {"msg": "Odd", "levelno": 20, "levelname": "INFO", "reason": value}
    shown = JsonFormatter(organization="acme").format(logging.makeLogRecord(fields))
    assert len(shown.split("\n")) == 1
    assert json.loads(shown)["event"] == "Odd"
