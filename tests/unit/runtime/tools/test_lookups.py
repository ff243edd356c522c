"""Names that others chose are looked up where nobody else waits."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from bulkhead_runtime.tools.web.lookups import Lookups
from tests.support.tool_homes import tool_context, tool_home


async def test_a_host_is_found_with_its_port() -> None:
    found = await Lookups().resolve("localhost", 8080)
    assert [(one["hostname"], one["host"], one["port"]) for one in found] == [
        ("localhost", "127.0.0.1", 8080)
    ]


@pytest.mark.parametrize("host", ["no-such-host.invalid", "x" * 300, ""])
async def test_a_host_that_is_none_is_said(host: str) -> None:
    with pytest.raises((OSError, UnicodeError)):
        await Lookups().resolve(host, 0)


async def test_no_more_are_looked_up_at_once_than_there_are_places() -> None:
    with pytest.raises(OSError, match="too many"):
        await Lookups(0).resolve("localhost")
    lookups = Lookups(1)
    for _ in range(3):
        assert await lookups.resolve("localhost")


async def test_pages_take_no_thread_of_the_event_loop_to_find_their_host(tmp_path: Path) -> None:
    """Where they did, names that nobody answers would keep everybody else's from being found."""
    home = tool_home(tmp_path)
    home.configure(webFetch={"enabled": True})
    await home.registry.run("calculate", {"expression": "1"}, tool_context())
    with ThreadPoolExecutor(1) as closed:
        asyncio.get_running_loop().set_default_executor(closed)
    envelope = await home.registry.run("web_fetch", {"url": "http://localhost/"}, tool_context())
    await home.registry.aclose()
    assert envelope.error is not None
    assert envelope.error.code == "forbidden_address"
