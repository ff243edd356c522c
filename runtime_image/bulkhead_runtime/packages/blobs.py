"""Keeps what was fetched on the runtime's volume, by digest.

What is read is compared with its digest again: a volume may be damaged, and no writer is trusted.
A volume that cannot be written costs a fetch at the next start, nothing else.
"""

import hashlib
import logging
import os
from pathlib import Path
from typing import Final

log = logging.getLogger(__name__)

MAX_BLOBS: Final = 128
"""Two for each version that can be loaded; the ones longest untouched make room."""


class Blobs:
    """A folder of blobs."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def get(self, digest: str) -> bytes | None:
        """Return a blob that is whole, None where there is none."""
        path = self._path(digest)
        try:
            content = path.read_bytes()
            if hashlib.sha256(content).hexdigest() != path.name:
                path.unlink(missing_ok=True)
                return None
            os.utime(path)
        except OSError:
            return None
        return content

    def put(self, digest: str, content: bytes) -> None:
        """Keep a blob."""
        path = self._path(digest)
        try:
            self._directory.mkdir(parents=True, exist_ok=True)
            # Two replicas may share a volume: each writes a file of its own, and renames it.
            temporary = path.with_suffix(f".{os.getpid()}")
            temporary.write_bytes(content)
            temporary.replace(path)
            self._make_room()
        except OSError as error:
            log.warning("A package is not kept", extra={"reason": error.strerror})

    def _make_room(self) -> None:
        files = sorted(self._directory.iterdir(), key=lambda path: path.stat().st_mtime)
        for path in files[:-MAX_BLOBS]:
            path.unlink(missing_ok=True)

    def _path(self, digest: str) -> Path:
        return self._directory / digest.removeprefix("sha256:")
