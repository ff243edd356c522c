"""What tools find around them: mounted folders, and which addresses they may reach."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bulkhead_runtime.tools.web.addresses import is_public, is_public_or_private

if TYPE_CHECKING:
    from aiohttp.abc import AbstractResolver

Permits = Callable[[str], bool]


@dataclass(frozen=True, slots=True)
class Surroundings:
    """The surroundings of one runtime; `resolver` is the system's where none is given.

    `public` is asked before a socket connects for the web, `private` for hosts that the
    organization has opened to tools of packages.
    """

    secrets: Path
    documents: Path
    public: Permits = is_public
    private: Permits = is_public_or_private
    resolver: "AbstractResolver | None" = None
