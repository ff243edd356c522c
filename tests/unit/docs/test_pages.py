"""The pages hold together: links lead somewhere, lines can be read, decisions are numbered."""

import re
from pathlib import Path
from typing import Final

import pytest

from tests.support.pages import PAGES, ROOT, WRITTEN, name

LINE: Final = 105
DESIGN = sorted((ROOT / "docs" / "design").glob("*.md"))
_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
_HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
_CODE = re.compile(r"`[^`\n]*`")


def links(page: Path) -> list[str]:
    """Return the links of a page that lead to other files of the project."""
    found = _LINK.findall(_CODE.sub("`", page.read_text()))
    return [link for link in found if "://" not in link]


def anchors(page: Path) -> set[str]:
    """Return the fragments that a page's headings can be reached by."""
    headings = _HEADING.findall(page.read_text())
    return {re.sub(r"[^\w\- ]", "", one.lower()).replace(" ", "-") for one in headings}


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_every_relative_link_leads_somewhere(page: Path) -> None:
    for link in links(page):
        path, _, fragment = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), link
        assert target.is_relative_to(ROOT), link
        assert not fragment or fragment in anchors(target), link


@pytest.mark.parametrize("page", WRITTEN, ids=name)
def test_no_line_of_prose_is_too_long(page: Path) -> None:
    lines = [one for one in page.read_text().splitlines() if not one.startswith(("|", "    "))]
    assert [one for one in lines if len(one) > LINE and "](" not in one] == []


def test_every_page_is_linked_from_another() -> None:
    linked = {
        (page.parent / link.partition("#")[0]).resolve() for page in PAGES for link in links(page)
    }
    reached = {target / one.name for target in linked if target.is_dir() for one in DESIGN}
    roots = {ROOT / "README.md"}
    assert [name(page) for page in PAGES if page not in linked | reached | roots] == []


def test_decisions_are_numbered_without_gap_or_double() -> None:
    assert [int(page.name[:4]) for page in DESIGN] == list(range(1, len(DESIGN) + 1))


@pytest.mark.parametrize("page", DESIGN, ids=name)
def test_a_decision_says_what_was_decided_against_what_and_how_to_undo_it(page: Path) -> None:
    text = page.read_text()
    assert text.startswith(f"# {page.name[:4]} ")
    for part in ("**Problem.**", "**Decision.**", "**Undo.**"):
        assert part in text
