"""Conditions as the API conventions and kstatus want them, computed afresh each time.

What holds is stated with `Statement`s; `conditions` gives them their times: a condition keeps its
transition time as long as its status stays, whatever happens to reason and message. Reconciling
and Stalled are present only while they are true, and never both.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, Literal

READY: Final = "Ready"
RECONCILING: Final = "Reconciling"
STALLED: Final = "Stalled"
WORKLOAD_AVAILABLE: Final = "WorkloadAvailable"
CONFIGURATION_LOADED: Final = "ConfigurationLoaded"
CREDENTIALS_PRESENT: Final = "CredentialsPresent"
RESTART_PENDING: Final = "RestartPending"

MESSAGE_CHARACTERS: Final = 1024

Status = Literal["True", "False", "Unknown"]


@dataclass(frozen=True, slots=True)
class Statement:
    """One thing that was found out; the message is stable: no times, no counters."""

    type: str
    status: Status
    reason: str
    message: str

    @property
    def holds(self) -> bool:
        """Tell whether the status is True."""
        return self.status == "True"


def now() -> str:
    """Return the present as the API writes it."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def conditions(
    statements: Iterable[Statement],
    *,
    generation: int,
    previous: Sequence[Mapping[str, Any]],
    time: str,
) -> list[dict[str, Any]]:
    """Return the conditions in a stable order, `time` being when any change happened."""
    before = {condition["type"]: condition for condition in previous}
    return [
        {
            "type": statement.type,
            "status": statement.status,
            "reason": statement.reason,
            "message": _bounded(statement.message),
            "lastTransitionTime": _transition(statement, before.get(statement.type), time),
            "observedGeneration": generation,
        }
        for statement in sorted(statements, key=_order)
    ]


def held(previous: Sequence[Mapping[str, Any]], kind: str) -> bool:
    """Tell whether a condition was True in the recorded status."""
    return any(
        condition["type"] == kind and condition["status"] == "True" for condition in previous
    )


def stalled(reason: str, message: str) -> tuple[Statement, Statement]:
    """Return what is stated when a person must act."""
    return (
        Statement(READY, "False", reason, message),
        Statement(STALLED, "True", reason, message),
    )


def reconciling(reason: str, message: str) -> tuple[Statement, Statement]:
    """Return what is stated while something is under way."""
    return (
        Statement(READY, "False", reason, message),
        Statement(RECONCILING, "True", reason, message),
    )


def _order(statement: Statement) -> tuple[bool, str]:
    return (statement.type != READY, statement.type)


def _transition(statement: Statement, before: Mapping[str, Any] | None, time: str) -> str:
    if before is not None and before["status"] == statement.status:
        return str(before["lastTransitionTime"])
    return time


def _bounded(message: str) -> str:
    if len(message) <= MESSAGE_CHARACTERS:
        return message
    return message[: MESSAGE_CHARACTERS - 1] + "…"
