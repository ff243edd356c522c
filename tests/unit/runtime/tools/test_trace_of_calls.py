"""Whoever carries a tool's call out is told of the trace, so that what it does stands below it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from bulkhead_api.v1alpha1.agent_package import HttpTool
from bulkhead_runtime.telemetry.spans import Tracing, TracingSettings
from bulkhead_runtime.tools.port import ToolContext
from tests.support.runtime.telemetry_receivers import running_collector
from tests.support.tool_homes import tool_context, tool_home
from tests.support.web_server import WebServer, web_server


@pytest.fixture
def desk() -> Iterator[WebServer]:
    with web_server() as server:
        yield server


async def _call(directory: Path, desk: WebServer, tracing: Tracing, context: ToolContext) -> str:
    """Call a tool of a package within a run; return what its service was told."""
    home = tool_home(directory, private=lambda host: host == desk.address, tracing=tracing)
    url = f"http://{desk.address}:{desk.port}/echo"
    declared = HttpTool(name="told", description="Asks the desk.", url=url)
    home.configure(declared, privateHosts=[desk.address])
    with tracing.run(context.context.trace, agent="assistant", attributes={}):
        envelope = await home.registry.run("told", {}, context)
    await home.registry.aclose()
    assert envelope.ok, envelope.error
    told: str = desk.requests[-1][2]["traceparent"]
    return told


async def test_a_service_is_told_of_the_span_of_its_call(tmp_path: Path, desk: WebServer) -> None:
    tracing, context = Tracing(), tool_context(package=True)
    with running_collector() as collector:
        await tracing.configure(TracingSettings(collector.endpoint))
        told = await _call(tmp_path, desk, tracing, context)
        await tracing.aclose()
        (span,) = [span for span in collector.spans() if span.name == "agent.tool"]
    assert told == f"00-{context.context.trace.trace_id}-{span.span_id.hex()}-01"


async def test_without_a_collector_a_service_is_told_of_the_request(
    tmp_path: Path, desk: WebServer
) -> None:
    context = tool_context(package=True)
    told = await _call(tmp_path, desk, Tracing(), context)
    assert told == context.context.trace.traceparent
