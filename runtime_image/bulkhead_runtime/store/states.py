"""Which state a session may go to from which: one table, checked before every change.

    idle -> executing -> completed | completed_with_errors | error | interrupted -> executing ...

`executing_queued` is executing while another message of the session waits. `planning` and
`waiting_approval` belong to turns, too. `archived` is the end: nothing leads out of it.
"""

from typing import Literal, get_args

SessionStatus = Literal[
    "idle",
    "planning",
    "executing",
    "executing_queued",
    "waiting_approval",
    "completed",
    "completed_with_errors",
    "error",
    "interrupted",
    "archived",
]

STATUSES: frozenset[SessionStatus] = frozenset(get_args(SessionStatus))
ENDED: frozenset[SessionStatus] = frozenset(
    {"completed", "completed_with_errors", "error", "interrupted"}
)
"""How a turn may end."""

RUNNING: frozenset[SessionStatus] = frozenset(
    {"planning", "executing", "executing_queued", "waiting_approval"}
)
"""While a turn holds the session."""

_STARTS: frozenset[SessionStatus] = frozenset({"planning", "executing", "archived"})
_GOES_ON: frozenset[SessionStatus] = ENDED | {"archived"}

ALLOWED: dict[SessionStatus, frozenset[SessionStatus]] = {
    "idle": _STARTS,
    "planning": _GOES_ON | {"executing", "waiting_approval"},
    "executing": _GOES_ON | {"planning", "executing_queued", "waiting_approval"},
    "executing_queued": _GOES_ON | {"planning", "executing", "waiting_approval"},
    "waiting_approval": _GOES_ON | {"planning", "executing", "executing_queued"},
    **dict.fromkeys(ENDED, _STARTS),
    "archived": frozenset(),
}


class IllegalTransitionError(Exception):
    """A change of state that the table does not allow: a mistake in the program."""

    def __init__(self, current: SessionStatus, wanted: SessionStatus) -> None:
        super().__init__(f"a session cannot go from {current} to {wanted}")
        self.current = current
        self.wanted = wanted


def check(current: SessionStatus, wanted: SessionStatus) -> None:
    """Raise `IllegalTransitionError` unless the change is allowed; no change always is."""
    if wanted != current and wanted not in ALLOWED[current]:
        raise IllegalTransitionError(current, wanted)


def ending(wanted: SessionStatus) -> None:
    """Check that a running turn may end so."""
    if wanted not in ENDED:
        raise IllegalTransitionError("executing", wanted)


def starting(current: SessionStatus) -> None:
    """Check that a turn may begin; one whose holder is gone counts as interrupted first."""
    check("interrupted" if current in RUNNING else current, "executing")
