import asyncio
import subprocess
import sys
import time
from collections.abc import Mapping
from typing import Any

import pytest

from bulkhead_runtime.tools.errors import ToolError
from bulkhead_runtime.tools.port import Tool, ToolContext, ToolEnvelope
from bulkhead_runtime.tools.registry import MAX_RESULT_BYTES, ToolRegistry, builtin_tools


def context(seconds: float = 5) -> ToolContext:
    return ToolContext(
        organization="acme",
        agent="assistant",
        session_id=None,
        deadline=time.monotonic() + seconds,
    )


async def answer(arguments: Mapping[str, Any], _context: ToolContext) -> Any:
    match arguments["how"]:
        case "well":
            return {"seen": "it"}
        case "too much":
            return "x" * MAX_RESULT_BYTES
        case "unserializable":
            return object()
        case "refusing":
            raise ToolError("closed", "come back tomorrow")
        case "broken":
            raise RuntimeError("password=hunter2")
        case _:
            return await asyncio.Event().wait()


PROBE = Tool(
    name="probe",
    description="Behaves as it is told.",
    parameters={
        "type": "object",
        "properties": {"how": {"type": "string", "maxLength": 20}},
        "required": ["how"],
        "additionalProperties": False,
    },
    risk="low",
    handler=answer,
    timeout_seconds=0.05,
)


async def run(arguments: str | Mapping[str, Any], name: str = "probe") -> ToolEnvelope:
    return await ToolRegistry([PROBE]).run(name, arguments, context())


async def test_a_call_that_works_is_ok_with_data() -> None:
    envelope = await run('{"how": "well"}')
    assert envelope.to_json() == {"ok": True, "data": {"seen": "it"}}


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        pytest.param('{"how": 5}', "$.how: 5 is not of type 'string'", id="a wrong type"),
        pytest.param("{}", "'how' is a required property", id="a missing argument"),
        pytest.param("", "'how' is a required property", id="no arguments at all"),
        pytest.param('{"how": "well", "x": 1}', "'x' was unexpected", id="one too many"),
        pytest.param('{"how":', "not JSON", id="half a JSON text"),
        pytest.param("[1]", "JSON list", id="a list"),
        pytest.param('"\ud800"', "not JSON", id="a lone surrogate"),
        pytest.param(" " * 70_000, "at most 65536", id="an oversized text"),
        pytest.param({"how": "x" * 21}, "is too long", id="a value beyond its bound"),
    ],
)
async def test_arguments_outside_the_schema_go_back_to_the_model(
    arguments: str | Mapping[str, Any], hint: str
) -> None:
    envelope = await run(arguments)
    assert envelope.error is not None
    assert envelope.error.code == "invalid_arguments"
    assert hint in envelope.error.message


@pytest.mark.parametrize(
    ("how", "code"),
    [
        ("refusing", "closed"),
        ("broken", "internal_error"),
        ("unserializable", "internal_error"),
        ("too much", "result_too_large"),
        ("never", "timeout"),
    ],
)
async def test_a_call_that_fails_says_why_and_raises_nothing(how: str, code: str) -> None:
    envelope = await run({"how": how})
    assert envelope.to_json()["error"]["code"] == code
    assert "hunter2" not in str(envelope)


async def test_the_deadline_of_the_execution_ends_a_tool_that_would_take_longer() -> None:
    patient = Tool(
        name="probe",
        description="",
        parameters=PROBE.parameters,
        risk="low",
        handler=answer,
        timeout_seconds=60,
    )
    envelope = await ToolRegistry([patient]).run("probe", {"how": "never"}, context(0.05))
    assert envelope.to_json()["error"]["code"] == "timeout"


async def test_an_unknown_tool_is_answered_with_the_names_of_those_there_are() -> None:
    envelope = await run("{}", name="rm -rf")
    assert envelope.to_json()["error"] == {
        "code": "unknown_tool",
        "message": "There is no tool 'rm -rf'; there are: probe.",
    }


async def test_cancelling_the_execution_cancels_the_tool() -> None:
    task = asyncio.create_task(run({"how": "never"}))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_the_built_in_tools_calculate_and_tell_the_time() -> None:
    tools = builtin_tools()
    assert [tool.name for tool in tools.list()] == ["calculate", "current_time"]
    calculated = await tools.run("calculate", '{"expression": "6 * 7"}', context())
    assert calculated.data["result"] == "42"
    told = await tools.run("current_time", '{"timezone": "Asia/Tokyo"}', context())
    assert told.data["time"].endswith("+09:00")


def test_the_registry_costs_no_schema_library_before_the_first_call() -> None:
    script = (
        "import sys; from bulkhead_runtime.tools.registry import builtin_tools; builtin_tools(); "
        "sys.exit('jsonschema' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0
