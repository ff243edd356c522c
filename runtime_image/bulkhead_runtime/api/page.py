"""The tenant's page at /ui: the files of `bulkhead_runtime/ui`, read when somebody first asks.

They are the same for every organization and hold nothing of any, so they need no key; all that the
page shows comes from the API, which does. What the headers forbid is what would let text of a
model or a stranger act as code, or another site put the page into a frame.
"""

import asyncio
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Final

import msgspec

from bulkhead_runtime.api.exchange import Exchange
from bulkhead_runtime.api.rate_headers import Header
from bulkhead_runtime.errors import Problem, unknown_path
from bulkhead_runtime.runtime import Runtime

PATH: Final = "/ui"

_FOLDER: Final = Path(__file__).parent.parent / "ui"
_INDEX: Final = "index.html"
_TYPES: Final = {
    ".css": b"text/css; charset=utf-8",
    ".html": b"text/html; charset=utf-8",
    ".js": b"text/javascript; charset=utf-8",
    ".svg": b"image/svg+xml",
}
_POLICY: Final = (
    b"default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    b"connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    b"require-trusted-types-for 'script'; trusted-types 'none'"
)
_HEADERS: Final[tuple[Header, ...]] = (
    # Asked about each time, answered with 304: an upgraded runtime never meets an old page.
    (b"cache-control", b"no-cache"),
    (b"vary", b"accept-encoding"),
    (b"content-security-policy", _POLICY),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-content-type-options", b"nosniff"),
)


class _Body(msgspec.Struct, frozen=True):
    """A file in one encoding; the tag is quoted."""

    content: bytes
    tag: bytes
    headers: tuple[Header, ...]


class _File(msgspec.Struct, frozen=True):
    """A file as it is and packed."""

    content_type: bytes
    plain: _Body
    packed: _Body


class Page:
    """Answers everything at and below /ui."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._files: Mapping[str, _File] | None = None

    async def answer(self, exchange: Exchange) -> None:
        """Answer with a file, or with 304 to who has it; raise a `Problem` where there is none."""
        exchange.route = PATH
        configuration = self._runtime.holder.current
        if configuration is not None and configuration.source.page == "Disabled":
            raise unknown_path()
        if exchange.method not in {"GET", "HEAD"}:
            exchange.note((b"allow", b"GET, HEAD"))
            raise Problem(405, "method_not_allowed", "Only GET and HEAD are answered here.")
        if exchange.path == f"{PATH}/":
            # Relative, because a gateway may have put all of this below a path of its own.
            await exchange.respond(308, b"", headers=[(b"location", b"../ui")])
            return
        if self._files is None:
            self._files = await asyncio.to_thread(_read)
        file = self._files.get(exchange.path)
        if file is None:
            raise unknown_path()
        body = file.packed if _takes_gzip(exchange) else file.plain
        headers = [*_HEADERS, *body.headers]
        if body.tag in exchange.headers.get(b"if-none-match", b""):
            await exchange.respond_unchanged(headers)
            return
        await exchange.respond(200, body.content, content_type=file.content_type, headers=headers)


def _read() -> dict[str, _File]:
    """Return every file by its path, and the page itself at /ui."""
    files = {
        f"{PATH}/{path.relative_to(_FOLDER).as_posix()}": _file(path)
        for path in sorted(_FOLDER.rglob("*"))
        if path.suffix in _TYPES
    }
    return {PATH: files.pop(f"{PATH}/{_INDEX}"), **files}


def _file(path: Path) -> _File:
    import gzip  # noqa: PLC0415 (nobody needs it at the start)

    content = path.read_bytes()
    digest = sha256(content).hexdigest()[:32].encode()
    plain, packed = b'"%s"' % digest, b'"%s-gzip"' % digest
    return _File(
        _TYPES[path.suffix],
        _Body(content, plain, ((b"etag", plain),)),
        _Body(
            gzip.compress(content, mtime=0),
            packed,
            ((b"etag", packed), (b"content-encoding", b"gzip")),
        ),
    )


def _takes_gzip(exchange: Exchange) -> bool:
    accepted = exchange.headers.get(b"accept-encoding", b"").replace(b" ", b"").lower()
    return any(coding in {b"gzip", b"gzip;q=1.0", b"gzip;q=1"} for coding in accepted.split(b","))
