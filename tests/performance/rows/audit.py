"""Counts what the operator asked of the API server, by the server's own audit log."""

import http
import json
from pathlib import Path
from typing import Any

from tests.performance.rows.control_plane import USER

_WRITES = frozenset({"create", "update", "patch", "delete", "deletecollection"})
# They tell and hold; they are not an organization's state.
_APART = frozenset({"events", "leases"})


class Requests:
    """The operator's requests since a moment; make one at that moment."""

    def __init__(self, log: Path) -> None:
        self._log = log
        self._begin = log.stat().st_size

    def writes(self) -> list[str]:
        """Return the mutating requests that were granted, Events and Leases apart."""
        return [
            f"{request['verb']} {request['requestURI']}"
            for request in self._mutating()
            if request["responseStatus"]["code"] < http.HTTPStatus.BAD_REQUEST
        ]

    def refused(self) -> int:
        """Return how many mutating requests were refused: they cost time, but wrote nothing."""
        return len(self._mutating()) - len(self.writes())

    def reads(self, resource: str) -> int:
        """Return how often one object or a list of this resource was read."""
        return sum(
            request["verb"] in {"get", "list"} and _resource(request) == resource
            for request in self._made()
        )

    def _mutating(self) -> list[dict[str, Any]]:
        return [
            request
            for request in self._made()
            if request["verb"] in _WRITES and _resource(request) not in _APART
        ]

    def _made(self) -> list[dict[str, Any]]:
        with self._log.open("rb") as lines:
            lines.seek(self._begin)
            # The last line may still be in writing.
            requests = [json.loads(line) for line in lines if line.endswith(b"\n")]
        return [request for request in requests if request["user"]["username"] == USER]


def _resource(request: dict[str, Any]) -> str:
    resource: str = request.get("objectRef", {}).get("resource", "")
    return resource
