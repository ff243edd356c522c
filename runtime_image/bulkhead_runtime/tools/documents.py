"""The built-in tool that searches an organization's documents: full text, passages with sources.

Documents are files of mounted ConfigMaps. They are read and indexed, in memory and in a thread,
with the first search and again with the first one after they changed.
"""

import asyncio
import logging
import os
import re
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from bulkhead_runtime.tools.port import Tool, ToolContext

MAX_BYTES: Final = 8 * 1024 * 1024
"""Of all documents together; the index takes about three times as much memory."""

PASSAGE_CHARACTERS: Final = 1_200
MAX_PASSAGES: Final = 10
MAX_WORDS: Final = 32
MAX_QUERY_CHARACTERS: Final = 1_000

_WORD: Final = re.compile(r"\w+")
_BLANK_LINE: Final = re.compile(r"\n\s*\n")
_HEADING: Final = re.compile(r"#{1,6} (.{1,200})")

_PARAMETERS: Final = {
    "type": "object",
    "properties": {
        "query": {
            "type": "string",
            "minLength": 1,
            "maxLength": MAX_QUERY_CHARACTERS,
            "description": "Words to look for; passages with more and rarer ones come first.",
        },
        "limit": {"type": "integer", "minimum": 1, "maximum": MAX_PASSAGES},
    },
    "required": ["query"],
    "additionalProperties": False,
}
_DEFAULT_LIMIT: Final = 5

_log = logging.getLogger(__name__)

Signature = tuple[tuple[str, int, int], ...]


class DocumentIndex:
    """The documents below one folder: a folder per ConfigMap, a file per document."""

    def __init__(self, directory: Path, config_maps: Iterable[str]) -> None:
        self._folders = tuple(directory / name for name in config_maps)
        self._signature: Signature | None = None
        self._index: sqlite3.Connection | None = None
        self._searching = asyncio.Lock()

    async def search(self, query: str, limit: int) -> list[dict[str, str]]:
        """Return the passages that fit best, each with `source` and, where known, `heading`."""
        async with self._searching:
            return await asyncio.to_thread(self._search, query, limit)

    def _search(self, query: str, limit: int) -> list[dict[str, str]]:
        words = dict.fromkeys(word.lower() for word in _WORD.findall(query))
        if not words:
            return []
        # Quoted words are only words: nothing of the query's text is syntax.
        wanted = " OR ".join(f'"{word}"' for word in list(words)[:MAX_WORDS])
        rows = self._current().execute(
            "SELECT source, heading, text FROM passages WHERE passages MATCH ? "
            "ORDER BY bm25(passages, 0, 2, 1) LIMIT ?",
            (wanted, limit),
        )
        return [
            {"source": source, **({"heading": heading} if heading else {}), "passage": text}
            for source, heading, text in rows
        ]

    def _current(self) -> sqlite3.Connection:
        signature = tuple(_signed(path) for path in self._files())
        if self._index is None or signature != self._signature:
            index = _empty_index()
            index.executemany("INSERT INTO passages VALUES (?, ?, ?)", self._passages())
            if self._index is not None:
                self._index.close()
            self._index, self._signature = index, signature
        return self._index

    def _files(self) -> Iterator[Path]:
        for folder in self._folders:
            if folder.is_dir():
                entries = sorted(folder.iterdir())
                yield from (path for path in entries if path.name[0] != "." and path.is_file())

    def _passages(self) -> Iterator[tuple[str, str, str]]:
        left = MAX_BYTES
        for path in self._files():
            source = f"{path.parent.name}/{path.name}"
            content = _read(path, left)
            if content is None:
                _log.warning("Document left out", extra={"document": source})
                continue
            left -= len(content.encode())
            for heading, text in passages(content):
                yield source, heading, text


def search_documents_tool(index: DocumentIndex) -> Tool:
    """Return the tool over an index."""

    async def search(arguments: Mapping[str, Any], _context: ToolContext) -> dict[str, Any]:
        limit = int(arguments.get("limit", _DEFAULT_LIMIT))
        return {"passages": await index.search(str(arguments["query"]), limit)}

    return Tool(
        name="search_documents",
        description="Searches the organization's documents and returns the passages that fit best.",
        parameters=_PARAMETERS,
        risk="low",
        handler=search,
        source="documents",
        idempotent=True,
    )


def passages(text: str) -> Iterator[tuple[str, str]]:
    """Yield (heading, passage): paragraphs put together up to a bound, none over two headings."""
    heading, passage = "", ""
    for paragraph in _BLANK_LINE.split(text.strip()):
        found = _HEADING.match(paragraph)
        if passage and (found or len(passage) + len(paragraph) > PASSAGE_CHARACTERS):
            yield heading, passage
            passage = ""
        heading = found[1].strip() if found else heading
        for start in range(0, len(paragraph), PASSAGE_CHARACTERS):
            piece = paragraph[start : start + PASSAGE_CHARACTERS]
            if len(passage) + len(piece) > PASSAGE_CHARACTERS:
                yield heading, passage
                passage = ""
            passage = f"{passage}\n\n{piece}" if passage else piece
    if passage:
        yield heading, passage


def _empty_index() -> sqlite3.Connection:
    index = sqlite3.connect(":memory:", check_same_thread=False)
    index.execute(
        "CREATE VIRTUAL TABLE passages USING fts5("
        "source UNINDEXED, heading, text, tokenize = 'porter unicode61 remove_diacritics 2')"
    )
    return index


def _signed(path: Path) -> tuple[str, int, int]:
    try:
        status = path.stat()
    except OSError:
        return (os.fspath(path), 0, 0)
    return (os.fspath(path), status.st_mtime_ns, status.st_size)


def _read(path: Path, most: int) -> str | None:
    try:
        with path.open("rb") as file:
            content = file.read(most + 1)
        return content.decode() if len(content) <= most else None
    except (OSError, UnicodeDecodeError):
        return None
