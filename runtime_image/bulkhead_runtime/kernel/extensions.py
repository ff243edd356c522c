"""Middleware that the operators of a runtime add to its image, found by entry points.

A package in the image names factories under the group `bulkhead.middleware`; each returns a
callable like the kernel's own. They run in the order of their names, inside the limits and the
deadline and before anything is reserved, for every way in. One that cannot be made ends the
process at its start: a guard that is silently missing guards nothing.
"""

from importlib.metadata import entry_points
from typing import Final

from bulkhead_runtime.errors import StartError
from bulkhead_runtime.kernel.execution import Middleware

GROUP: Final = "bulkhead.middleware"


class ExtensionError(StartError):
    """A middleware that cannot be made; the message names it and why."""


def middlewares() -> tuple[Middleware, ...]:
    """Return one instance of every middleware that is installed, in the order of their names."""
    made = []
    for entry in sorted(entry_points(group=GROUP), key=lambda entry: entry.name):
        try:
            made.append(entry.load()())
        except Exception as error:
            raise ExtensionError(
                f"the middleware {entry.name!r} ({entry.value}) cannot be made: "
                f"{type(error).__name__}: {error}"
            ) from error
    return tuple(made)
