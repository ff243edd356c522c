"""The status of a MemoryPool: rounded, so that it is written only when a person would see it."""

from dataclasses import dataclass
from typing import Any

from bulkhead_api.runtime_state import PoolUsage
from bulkhead_api.v1alpha1 import MemoryPool
from bulkhead_operator.errors import NotReadyYet, UserError
from bulkhead_operator.status import conditions as words
from bulkhead_operator.status import reasons
from bulkhead_operator.status.conditions import Statement, conditions

MEBIBYTE = 1024 * 1024


@dataclass(frozen=True, slots=True)
class PoolFound:
    """What is known of a pool."""

    organization: str | None = None
    violation: UserError | None = None
    waiting: NotReadyYet | None = None
    usage: PoolUsage | None = None


def status(pool: MemoryPool, found: PoolFound, time: str) -> dict[str, Any]:
    """Return the whole status."""
    previous = [
        condition.model_dump(by_alias=True, exclude_none=True)
        for condition in pool.status.conditions
    ]
    generation = pool.metadata.generation
    values: dict[str, Any] = {
        "observedGeneration": generation,
        "conditions": conditions(
            _statements(found), generation=generation, previous=previous, time=time
        ),
        "organization": found.organization,
        **_usage(pool, found),
    }
    return {name: value for name, value in values.items() if value is not None}


def _usage(pool: MemoryPool, found: PoolFound) -> dict[str, int | None]:
    if found.usage is None:
        recorded = pool.status
        return {
            "usedMB": recorded.used_mb,
            "usedPercent": recorded.used_percent,
            "sessions": recorded.sessions,
        }
    used = -(-found.usage.used_bytes // MEBIBYTE)
    return {
        "usedMB": used,
        "usedPercent": used * 100 // pool.spec.max_memory_mb,
        "sessions": two_digits(found.usage.sessions),
    }


def two_digits(count: int) -> int:
    """Return a count to two significant digits, rounded down."""
    scale: int = 10 ** max(len(str(count)) - 2, 0)
    return count // scale * scale


def _statements(found: PoolFound) -> tuple[Statement, ...]:
    if found.violation is not None:
        return words.stalled(found.violation.reason, found.violation.message)
    if found.waiting is not None:
        return words.reconciling(found.waiting.reason, found.waiting.message)
    if found.usage is None:
        message = "The runtime has not reported the pool yet."
        return words.reconciling(reasons.CONFIGURATION_PENDING, message)
    message = "The runtime keeps its conversations within the pool's bounds."
    return (Statement(words.READY, "True", reasons.IN_USE, message),)
