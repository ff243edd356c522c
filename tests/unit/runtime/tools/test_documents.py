"""Searching an organization's documents as they are mounted."""

from pathlib import Path
from typing import Any

import pytest

from bulkhead_runtime.tools.documents import MAX_BYTES, PASSAGE_CHARACTERS, passages
from tests.support.tool_homes import ToolHome, tool_context, tool_home


@pytest.fixture
def handbook(tmp_path: Path) -> Path:
    folder = tmp_path / "documents" / "handbook"
    folder.mkdir(parents=True)
    (folder / "leave.md").write_text(
        "# Leave\n\nEveryone has thirty days of holidays.\n\n## Sick leave\n\nCall before nine."
    )
    (folder / "travel.md").write_text("# Travel\n\nTrains go before planes. Hotels below 150 euro.")
    return folder


@pytest.fixture
def home(tmp_path: Path, handbook: Path) -> ToolHome:
    home = tool_home(tmp_path)
    home.configure(documents={"configMaps": ["handbook", "not-there"]})
    return home


async def search(home: ToolHome, query: str, **arguments: Any) -> list[dict[str, str]]:
    envelope = await home.registry.run(
        "search_documents", {"query": query, **arguments}, tool_context()
    )
    assert envelope.ok, envelope
    assert envelope.untrusted
    found: list[dict[str, str]] = envelope.data["passages"]
    return found


async def test_the_passage_that_fits_comes_with_its_source_and_heading(home: ToolHome) -> None:
    (found,) = await search(home, "how many days of holiday?", limit=1)
    assert found == {
        "source": "handbook/leave.md",
        "heading": "Leave",
        "passage": "# Leave\n\nEveryone has thirty days of holidays.",
    }


async def test_rarer_words_and_headings_go_first(home: ToolHome) -> None:
    found = await search(home, "travel before")
    assert found[0]["source"] == "handbook/travel.md"
    assert found[1]["heading"] == "Sick leave"


@pytest.mark.parametrize(
    "query",
    ['"', "NEAR(", "text: *", "a AND", "') DROP TABLE passages; --", "^", "?!", "-holidays"],
)
async def test_a_query_is_words_and_never_syntax(home: ToolHome, query: str) -> None:
    assert isinstance(await search(home, query), list)
    assert await search(home, "holidays")


async def test_a_change_is_found_without_a_restart(home: ToolHome, handbook: Path) -> None:
    assert await search(home, "bicycles") == []
    (handbook / "parking.md").write_text("Bicycles stand in the yard.")
    assert (await search(home, "bicycles"))[0]["source"] == "handbook/parking.md"
    (handbook / "parking.md").unlink()
    assert await search(home, "bicycles") == []


async def test_documents_are_followed_through_the_links_of_a_mounted_volume(
    home: ToolHome, handbook: Path
) -> None:
    (handbook / "..1").mkdir()
    (handbook / "..1" / "menu.txt").write_text("Soup on Monday")
    (handbook / "..data").symlink_to("..1")
    (handbook / "menu.txt").symlink_to("..data/menu.txt")
    assert [found["source"] for found in await search(home, "soup")] == ["handbook/menu.txt"]


async def test_only_what_is_configured_is_searched(home: ToolHome, handbook: Path) -> None:
    other = handbook.parent / "other"
    other.mkdir()
    (other / "a.md").write_text("holidays for nobody")
    assert {found["source"] for found in await search(home, "holidays")} == {"handbook/leave.md"}


async def test_what_is_no_text_or_too_large_is_left_out_and_costs_no_other(
    home: ToolHome, handbook: Path
) -> None:
    (handbook / "a-picture").write_bytes(b"\x89PNG\xff holidays")
    (handbook / "b-large").write_bytes(b"holidays " * (MAX_BYTES // 9 + 1))
    assert {found["source"] for found in await search(home, "holidays")} == {"handbook/leave.md"}


def test_the_tool_is_there_only_where_there_are_documents(home: ToolHome) -> None:
    assert home.registry.get("search_documents") is not None
    home.configure()
    assert home.registry.get("search_documents") is None


def test_a_passage_is_bounded_and_belongs_to_one_heading() -> None:
    text = "# A\n\n" + "\n\n".join(["word " * 60] * 10) + "\n\n# B\n\n" + "x" * 5_000
    found = list(passages(text))
    assert {heading for heading, _ in found} == {"A", "B"}
    assert all(len(passage) <= PASSAGE_CHARACTERS + 2 for _, passage in found)
    assert sum(passage.count("word") for _, passage in found) == 600
    assert sum(passage.count("x") for _, passage in found) == 5_000
