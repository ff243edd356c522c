"""The text of an HTML page, for a model to read.

Own code, because pages are hostile input: the standard library's parser and the fast C ones take
quadratic time on some of them. Every step here moves forward by a search that is never repeated.
"""

import html
import re
from typing import Final

_HIDDEN: Final = frozenset({"script", "style", "template", "noscript", "svg", "iframe", "textarea"})
_BLOCKS: Final = re.compile(
    r"address|article|aside|blockquote|br|d[dlt]|div|fieldset|fig(caption|ure)|footer|form|h[1-6]|"
    r"header|hr|li|main|nav|ol|option|p|pre|section|table|t[dhr]|title|ul"
)
_MARKUP: Final = re.compile(r"<(?=/?([a-zA-Z][a-zA-Z0-9]{0,31})|[!?])")
_SPACES: Final = re.compile(r"[^\S\n]+")
_LINES: Final = re.compile(r"\s*\n\s*")
_TITLE: Final = re.compile(r"<title[^<>]{0,256}>([^<]{0,512})", re.IGNORECASE)


def page_text(page: str) -> str:
    """Return what a person would read of a page, a line per block."""
    pieces: list[str] = []
    position = 0
    while position >= 0 and (markup := _MARKUP.search(page, position)) is not None:
        pieces.append(page[position : markup.start()])
        position, left = _after_markup(page, markup)
        pieces.append(left)
    if position >= 0:
        pieces.append(page[position:])
    return tidy(html.unescape("".join(pieces)))


def page_title(page: str) -> str:
    """Return the title of a page, empty where it has none."""
    found = _TITLE.search(page)
    return tidy(html.unescape(found[1])) if found else ""


def tidy(text: str) -> str:
    """Return text without empty lines and repeated spaces."""
    return _LINES.sub("\n", _SPACES.sub(" ", text)).strip()


def _after_markup(page: str, markup: re.Match[str]) -> tuple[int, str]:
    """Return where to read on, -1 for nowhere, and what the markup leaves."""
    start = markup.end()
    if page.startswith("!--", start):
        return _after(page, "-->", start + 3), " "
    end = _after(page, ">", start)
    tag = (markup[1] or "").lower()
    if end >= 0 and tag in _HIDDEN and page[start] != "/":
        return _after_hidden(page, tag, end), " "
    return end, "\n" if _BLOCKS.fullmatch(tag) else ""


def _after_hidden(page: str, tag: str, start: int) -> int:
    closing = re.compile(f"</{tag}", re.IGNORECASE).search(page, start)
    return _after(page, ">", closing.end()) if closing else -1


def _after(page: str, mark: str, start: int) -> int:
    found = page.find(mark, start)
    return -1 if found < 0 else found + len(mark)
