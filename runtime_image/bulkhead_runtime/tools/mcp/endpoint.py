"""Where an MCP server is and how it is spoken to."""

from dataclasses import dataclass, field
from typing import Final

AUTOMATIC: Final = "auto"
LEGACY: Final = "legacy"


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A server; `era` is the version of the protocol that it was found to speak.

    `token` is a secret and never shown.
    """

    name: str
    url: str
    token: str | None = field(repr=False)
    era: str = AUTOMATIC
