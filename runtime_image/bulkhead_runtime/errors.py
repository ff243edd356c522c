"""What the runtime refuses or fails at, in words for people and codes for programs.

    Problem
      every refusal and failure that a client sees; carries its HTTP status and a stable code
    StartError
      why a process cannot begin to serve; for whoever runs it

The kernel and the store raise these; only `api/` turns them into answers. A message never holds
a secret, a user's text or a stack.
"""

from dataclasses import dataclass


class StartError(Exception):
    """The process cannot begin to serve; the message names what is wrong and the remedy."""


@dataclass(frozen=True, slots=True)
class Spent:
    """What failed work has used all the same; `cost` in US dollars as decimal text."""

    input_tokens: int
    output_tokens: int
    cost: str | None


class Problem(Exception):  # noqa: N818 (RFC 9457's word for it)
    """A refusal or failure with a stable `code`; `retry_after` is in seconds.

    `session_id` is set when the refused or failed turn belongs to a session that exists, `spent`
    when something was used before it failed.
    """

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        *,
        retry_after: float | None = None,
        field: str | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.retry_after = retry_after
        self.field = field
        self.session_id: str | None = None
        self.spent: Spent | None = None


def unknown_agent(name: str) -> Problem:
    """Return the answer to a name that no package in service defines."""
    return Problem(
        404,
        "unknown_agent",
        f"There is no agent {name[:63]!r}. GET /v1/agents lists those that answer.",
    )


def unknown_path() -> Problem:
    """Return the answer to a path that nothing serves."""
    return Problem(
        404, "unknown_path", "There is nothing at this path. GET /openapi.json lists all."
    )


def unknown_session() -> Problem:
    """Return the one answer to a session that is unknown, expired, deleted or somebody else's."""
    return Problem(
        404,
        "unknown_session",
        "There is no such session. Leave out `session_id` to begin a new one.",
    )


def not_configured() -> Problem:
    """Return the answer while no valid configuration was seen yet."""
    return Problem(
        503,
        "not_configured",
        "The runtime has no configuration yet. Try again in a moment; GET /readiness tells more.",
        retry_after=1,
    )


def store_unavailable(reason: str, *, retry_after: float | None = 1) -> Problem:
    """Return the answer while conversations cannot be read or written."""
    return Problem(503, "store_unavailable", reason, retry_after=retry_after)


def store_full() -> Problem:
    """Return the answer when the volume itself has no room."""
    return Problem(
        507,
        "storage_full",
        "The volume that holds the conversations is full, so nothing was stored. Have it enlarged: "
        "spec.storage.sizeMB of the OrganizationRuntime, or that of a shared PostgreSQL.",
    )


def pool_full(pool: str, max_memory_mb: int) -> Problem:
    """Return the answer when a turn could take the pool beyond its bound."""
    return Problem(
        507,
        "pool_full",
        f"Memory pool {pool!r} has no room for another turn (maxMemoryMB is {max_memory_mb}). "
        "Delete sessions, or have spec.maxMemoryMB of the MemoryPool raised or its "
        "spec.defaultRetentionSeconds lowered.",
    )
