"""Label values that cannot grow without bound, whatever the names are made of."""

from collections.abc import Container
from typing import Final

OTHER: Final = "other"
MAX_CHARACTERS: Final = 128


class BoundedNames:
    """The first `limit` names keep their own series; all later ones share the series `other`.

    For names that come from outside the code: agents of packages, tools of MCP servers, models
    that a client addresses directly.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._known: set[str] = set()

    def label(self, name: str) -> str:
        """Return the label value for `name`."""
        if name in self._known:
            return name
        if len(self._known) >= self._limit or len(name) > MAX_CHARACTERS:
            return OTHER
        self._known.add(name)
        return name

    def keep(self, wanted: Container[str]) -> None:
        """Forget the names that are not wanted any more, so that others have their place."""
        self._known = {name for name in self._known if name in wanted}
