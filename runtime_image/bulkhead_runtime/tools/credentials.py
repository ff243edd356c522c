"""Values of mounted Secrets, read when they are needed, so that a rotation needs nobody."""

from pathlib import Path
from typing import Final

from bulkhead_runtime.tools.errors import ToolError

MAX_CREDENTIAL_BYTES: Final = 16_384


class Credentials:
    """One folder with a file per credential; names come from the configuration."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def value(self, name: str) -> str:
        """Return a credential; raise `ToolError` where none is mounted or it is no header value."""
        try:
            with (self._directory / name).open("rb") as file:
                content = file.read(MAX_CREDENTIAL_BYTES + 1).strip()
        except OSError:
            content = b""
        if not 0 < len(content) <= MAX_CREDENTIAL_BYTES:
            raise _unusable(name, "is not mounted, or empty")
        value = content.decode("ascii", errors="replace")
        if not value.isascii() or not value.isprintable():
            raise _unusable(name, "holds what no HTTP header can")
        return value


def _unusable(name: str, reason: str) -> ToolError:
    return ToolError(
        "credential_missing",
        f"Credential {name!r} {reason}: the platform team must set its Secret.",
    )
