"""What was really written, by whomever: the audit log of the local cluster's API server."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from tests.cluster.local import LocalCluster

_WRITES = frozenset({"create", "update", "patch", "delete", "deletecollection"})
# They tell and hold; they are nobody's wish.
_APART = frozenset({"events", "leases"})


class Writes:
    """The granted writes to a namespace since this was made, Events and Leases apart."""

    def __init__(self, namespace: str) -> None:
        self._namespace = namespace
        self._since = datetime.now(UTC)

    def made(self) -> list[str]:
        """Return who wrote what."""
        return [
            f"{request['user']['username']} ({request.get('userAgent', '')}): "
            f"{request['verb']} {request['requestURI']}"
            for request in self._requests()
            if self._counts(request)
        ]

    def _requests(self) -> Iterator[dict[str, Any]]:
        log = LocalCluster().audit_log
        marked = f'"namespace":"{self._namespace}"'.encode()
        for file in log.parent.glob(f"{log.stem}*{log.suffix}"):
            if file.stat().st_mtime < self._since.timestamp():
                continue
            with file.open("rb") as lines:
                # The last line may still be in writing.
                yield from (
                    json.loads(line) for line in lines if marked in line and line.endswith(b"\n")
                )

    def _counts(self, request: dict[str, Any]) -> bool:
        about = request["objectRef"]
        return (
            about.get("namespace") == self._namespace
            and about.get("resource") not in _APART
            and request["verb"] in _WRITES
            and request["responseStatus"]["code"] < 300
            and "dryRun=" not in request["requestURI"]
            and datetime.fromisoformat(request["requestReceivedTimestamp"]) >= self._since
        )
