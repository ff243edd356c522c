"""Reads what is written for people: the pages, and the blocks and names in them."""

import re
import textwrap
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
REFERENCE = ROOT / "docs" / "reference"
PAGES = tuple(sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]))
WRITTEN = tuple(page for page in PAGES if not page.is_relative_to(REFERENCE))
"""The pages that no generator writes."""

_BLOCK = re.compile(r"(?:^ {4,}\S.*\n|^\n)+", re.MULTILINE)
_TICKED = re.compile(r"`([^`\n]+)`")


def name(page: Path) -> str:
    """Return a page's path in the project."""
    return str(page.relative_to(ROOT))


def blocks(page: Path) -> Iterator[str]:
    """Yield the indented blocks of a page, without their indentation."""
    for block in _BLOCK.findall(page.read_text()):
        yield textwrap.dedent(block.strip("\n"))


def ticked(page: Path) -> set[str]:
    """Return what stands between backticks outside of blocks."""
    return set(_TICKED.findall(page.read_text()))
