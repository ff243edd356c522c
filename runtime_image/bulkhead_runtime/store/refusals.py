"""What a store refuses, in the same words whichever store it is."""

from bulkhead_runtime.errors import Problem

BUSY_RETRY_SECONDS = 1
MINUTE_SECONDS = 60


def session_busy() -> Problem:
    """Return the answer while another turn holds the session."""
    return Problem(
        409,
        "session_busy",
        "Another turn of this session is running. Try again when it has ended.",
        retry_after=BUSY_RETRY_SECONDS,
    )


def turn_lost() -> Problem:
    """Return the answer to a turn whose session was taken from it."""
    return Problem(
        409,
        "turn_lost",
        "The session was deleted or continued by another turn meanwhile, so this turn was not "
        "stored.",
    )


def session_full(limit: int) -> Problem:
    """Return the answer to a turn of a session that has as many messages as it may."""
    return Problem(
        409,
        "session_full",
        f"The session has {limit} messages, as many as it may (spec.limits.maxMessagesPerSession). "
        "Leave out `session_id` to begin a new one.",
        field="session_id",
    )


def too_many_sessions(limit: int) -> Problem:
    """Return the answer to a new session beyond what one principal may have."""
    return Problem(
        409,
        "too_many_sessions",
        f"You have {limit} sessions, as many as you may (spec.limits.maxSessionsPerPrincipal). "
        "Delete some with DELETE /v1/sessions/{id}.",
    )


def too_many_new_sessions(limit: int, retry_after: float) -> Problem:
    """Return the answer to one new session too many within a minute."""
    return Problem(
        429,
        "rate_limited",
        f"More than {limit} sessions per minute were begun "
        "(spec.limits.sessionCreationsPerMinute). Try again later.",
        retry_after=max(1.0, retry_after),
    )


def too_many_parallel_sessions(limit: int) -> Problem:
    """Return the answer while as many sessions as may are in a turn, over all replicas."""
    return Problem(
        429,
        "too_many_parallel_sessions",
        f"{limit} sessions of the organization are in a turn, as many as may be at once "
        "(spec.limits.maxParallelSessions). Try again when one has ended.",
        retry_after=BUSY_RETRY_SECONDS,
    )


def invalid_cursor() -> Problem:
    """Return the answer to a cursor that no page gave out."""
    return Problem(
        422,
        "invalid_cursor",
        "`cursor` must be the `next_cursor` of the page before.",
        field="cursor",
    )


def too_many_records(what: str, limit: int) -> Problem:
    """Return the answer to one policy or API key more than an organization may add."""
    return Problem(
        409,
        "too_many_records",
        f"There are {limit} {what}, as many as may be. Delete some first.",
    )


def reservation_gone() -> Problem:
    """Return the answer to work whose reservation was given up as abandoned."""
    return Problem(
        409,
        "reservation_gone",
        "The work took longer than its lease and was given up, so it cannot go on. Try again.",
    )
