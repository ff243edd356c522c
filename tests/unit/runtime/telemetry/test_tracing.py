import asyncio
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from bulkhead_runtime.errors import Problem
from bulkhead_runtime.telemetry.redaction import SECRET_VALUES
from bulkhead_runtime.telemetry.spans import Tracing, TracingSettings
from bulkhead_runtime.telemetry.trace import continue_trace
from tests.support.deadline import until
from tests.support.runtime.telemetry_receivers import CollectorServer, attributes, running_collector

CALLER = b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
SECRET = "sk-canary-0123456789"


@pytest.fixture
def collector() -> Iterator[CollectorServer]:
    with running_collector() as server:
        yield server


def _settings(collector: CollectorServer, **fields: Any) -> TracingSettings:
    return TracingSettings(
        collector.endpoint, organization="acme", runtime_id="rt-1", version="1.2.3", **fields
    )


async def test_a_run_a_model_call_and_a_tool_call_become_one_tree_with_the_genai_attributes(
    collector: CollectorServer,
) -> None:
    tracing, trace = Tracing(), continue_trace(CALLER)
    await tracing.configure(_settings(collector))
    with tracing.run(trace, agent="assistant", attributes={"gen_ai.conversation.id": "ses_1"}):
        with tracing.model("gpt-x", "openai", {"gen_ai.request.max_tokens": 100}) as call:
            call.set({"gen_ai.usage.input_tokens": 7, "gen_ai.response.finish_reasons": ("stop",)})
            downstream = call.traceparent
        with tracing.tool("calculate", {"gen_ai.tool.call.id": "call_1"}):
            pass
    await tracing.aclose()

    spans = {span.name: span for span in collector.spans()}
    run, chat, tool = spans["agent.run"], spans["chat gpt-x"], spans["agent.tool"]
    assert {span.trace_id.hex() for span in spans.values()} == {"4bf92f3577b34da6a3ce929d0e0e4736"}
    assert run.span_id.hex() == trace.span_id
    assert run.parent_span_id.hex() == "00f067aa0ba902b7"
    assert chat.parent_span_id == tool.parent_span_id == run.span_id
    assert downstream == f"00-{trace.trace_id}-{chat.span_id.hex()}-01"
    assert attributes(run)["gen_ai.operation.name"] == "invoke_agent"
    assert attributes(run)["gen_ai.conversation.id"] == "ses_1"
    assert attributes(chat) == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": "gpt-x",
        "gen_ai.request.max_tokens": 100,
        "gen_ai.usage.input_tokens": 7,
        "gen_ai.response.finish_reasons": ("stop",),
    }
    assert attributes(tool)["gen_ai.tool.name"] == "calculate"
    assert collector.resources()[0]["bulkhead.organization"] == "acme"


async def test_a_new_trace_has_the_ids_that_the_answer_shows(collector: CollectorServer) -> None:
    tracing, trace = Tracing(), continue_trace(None)
    await tracing.configure(_settings(collector))
    with tracing.run(trace, agent="assistant", attributes={}):
        pass
    await tracing.aclose()

    (span,) = collector.spans()
    assert (span.trace_id.hex(), span.span_id.hex()) == (trace.trace_id, trace.span_id)
    assert not span.parent_span_id


async def test_content_is_captured_only_when_asked_for_and_without_secrets(
    collector: CollectorServer,
) -> None:
    SECRET_VALUES.replace({SECRET})
    tracing = Tracing()
    for asked in (False, True):
        await tracing.configure(_settings(collector, capture_content=asked))
        with tracing.run(continue_trace(None), agent="assistant", attributes={}) as span:
            assert span.captures_content is asked
            span.content("gen_ai.input.messages", f"my key is {SECRET} " + "x" * 40_000)
    await tracing.aclose()
    SECRET_VALUES.replace(set())

    silent, captured = (attributes(span) for span in collector.spans())
    assert "gen_ai.input.messages" not in silent
    assert captured["gen_ai.input.messages"].startswith("my key is [redacted] xxx")
    assert len(captured["gen_ai.input.messages"]) == 32_768
    assert SECRET.encode() not in collector.raw


async def test_a_failure_is_told_by_its_class_and_never_by_its_text(
    collector: CollectorServer,
) -> None:
    tracing = Tracing()
    await tracing.configure(_settings(collector))
    with (
        pytest.raises(Problem),
        tracing.run(continue_trace(None), agent="assistant", attributes={}),
        tracing.tool("lookup", {}),
    ):
        raise Problem(504, "execution_timeout", "the text of a user")
    await tracing.aclose()

    for span in collector.spans():
        assert attributes(span)["error.type"] == "execution_timeout"
        assert span.status.code == span.status.STATUS_CODE_ERROR
    assert b"the text of a user" not in collector.raw


async def test_a_sampling_ratio_of_none_sends_nothing_but_what_the_caller_sampled(
    collector: CollectorServer,
) -> None:
    tracing = Tracing()
    await tracing.configure(_settings(collector, sampling_ratio=0.0))
    for header in (None, CALLER):
        with tracing.run(continue_trace(header), agent="assistant", attributes={}):
            pass
    await tracing.aclose()

    (span,) = collector.spans()
    assert span.parent_span_id.hex() == "00f067aa0ba902b7"


async def test_headers_reach_the_collector_and_are_not_shown(collector: CollectorServer) -> None:
    settings = _settings(collector, headers=(("authorization", f"Bearer {SECRET}"),))
    tracing = Tracing()
    await tracing.configure(settings)
    with tracing.run(continue_trace(None), agent="assistant", attributes={}):
        pass
    await tracing.aclose()

    assert collector.headers[0]["authorization"] == f"Bearer {SECRET}"
    assert SECRET not in repr(settings)


async def _trace(tracing: Tracing, runs: int) -> None:
    for _ in range(runs):
        with tracing.run(continue_trace(None), agent="assistant", attributes={}):
            pass


async def test_a_collector_that_refuses_harms_nobody_and_is_told_of_once(
    collector: CollectorServer, caplog: pytest.LogCaptureFixture
) -> None:
    collector.refuse(400)
    tracing = Tracing()
    await tracing.configure(_settings(collector))
    await _trace(tracing, 10_000)
    await tracing.aclose()

    assert len(collector.headers) > 1
    said = [record for record in caplog.records if "400" in record.getMessage()]
    assert [record.levelname for record in said] == ["ERROR"]


async def test_spans_that_find_no_room_are_told_of(
    collector: CollectorServer, caplog: pytest.LogCaptureFixture
) -> None:
    collector.refuse(503)
    tracing = Tracing()
    await tracing.configure(_settings(collector))

    async def told() -> bool:
        # The SDK says the same once in 20 seconds, and another test may have made it.
        await _trace(tracing, 5_000)
        return "Queue full, dropping Span." in [record.getMessage() for record in caplog.records]

    await until(told, "the log tells of lost spans")
    await tracing.aclose()
    assert len(caplog.records) < 100


async def test_many_spans_leave_in_few_requests_so_that_a_distant_collector_keeps_up(
    collector: CollectorServer,
) -> None:
    tracing = Tracing()
    await tracing.configure(_settings(collector))
    await _trace(tracing, 4_000)
    await tracing.aclose()

    assert len(collector.spans()) == 4_000
    assert len(collector.headers) < 20


async def test_a_collector_that_is_away_does_not_hold_up_the_end(
    collector: CollectorServer,
) -> None:
    collector.refuse(503)
    tracing = Tracing()
    await tracing.configure(_settings(collector))
    await _trace(tracing, 4_000)
    # Trying every batch takes half a minute and more.
    async with asyncio.timeout(20):
        await tracing.aclose()


def test_without_a_collector_nothing_of_opentelemetry_is_imported() -> None:
    code = (
        "import sys; from bulkhead_runtime.telemetry.spans import Tracing; "
        "from bulkhead_runtime.telemetry.trace import continue_trace\n"
        "with Tracing().run(continue_trace(None), agent='a', attributes={}) as span: span.set({})\n"
        "print(any(name.startswith('opentelemetry') for name in sys.modules))"
    )
    shown = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout
    assert shown.strip() == "False"


@pytest.mark.parametrize(
    ("caller", "ratio", "recorded"),
    [
        pytest.param(None, 1.0, True, id="a trace that is sampled"),
        pytest.param(None, 0.0, False, id="a trace that is not sampled"),
        pytest.param(CALLER, 0.0, True, id="a caller's trace that the caller samples"),
        pytest.param(CALLER[:-1] + b"0", 1.0, False, id="a caller's trace that it does not sample"),
    ],
)
async def test_metrics_name_a_trace_only_where_somebody_can_look_at_it(
    collector: CollectorServer, caller: bytes | None, ratio: float, recorded: bool
) -> None:
    tracing, trace = Tracing(), continue_trace(caller)
    await tracing.configure(_settings(collector, sampling_ratio=ratio))
    with tracing.run(trace, agent="assistant", attributes={}):
        in_the_run = tracing.recorded()
        with tracing.model("gpt-x", "openai", {}):
            in_the_call = tracing.recorded()
    outside = tracing.recorded()
    await tracing.aclose()

    expected = trace.trace_id if recorded else None
    assert (in_the_run, in_the_call, outside) == (expected, expected, None)


def test_without_a_collector_no_trace_is_recorded() -> None:
    assert Tracing().recorded() is None
