"""Who asks for what, until when, on whose behalf: it goes with the work through every part.

Logs, spans, events, errors, policies and tools read it; nothing changes it. Work that other work
starts gets a child, which can be narrower and never wider.
"""

from typing import Final

from msgspec import Struct, field
from msgspec.structs import replace

from bulkhead_runtime.identifiers import new_id, random_hex
from bulkhead_runtime.kernel.allowance import Allowance
from bulkhead_runtime.telemetry.trace import Trace

EVERYTHING = "*"
"""The scope that holds every other."""

SESSIONS_ANY = "sessions:any"
"""The scope to see and continue the sessions of other principals."""


def new_run_id() -> str:
    """Return an id that cannot be guessed."""
    return new_id("run")


class Principal(Struct, frozen=True):
    """Whoever calls: `name` owns sessions, `scopes` say what it may do, `key_name` how it came."""

    name: str
    scopes: frozenset[str]
    key_name: str

    def may(self, scope: str) -> bool:
        """Tell whether this principal has a scope."""
        return scope in self.scopes or EVERYTHING in self.scopes

    @property
    def whose_sessions(self) -> str | None:
        """Return whose sessions it sees and continues: its own, or None for everybody's."""
        return None if self.may(SESSIONS_ANY) else self.name


HEALTH_CHECK: Final = Principal(
    "health-check", frozenset({"agents:run", "tools:run"}), "health-check"
)
"""Runs health checks of package versions. Known by identity: a key may have the same name."""


class ExecutionContext(Struct, frozen=True):
    """What one run belongs to; `deadline` is a time of `time.monotonic()`.

    `policies` names the named policies that apply beside the organization's own. `allowance` is
    what the request may still use, shared with its children.
    """

    request_id: str
    trace: Trace
    organization: str
    principal: Principal
    deadline: float
    run_id: str = field(default_factory=new_run_id)
    session_id: str | None = None
    job_id: str | None = None
    agent: str = ""
    policies: tuple[str, ...] = ()
    allowance: Allowance = field(default_factory=lambda: Allowance({}))

    def child(
        self,
        *,
        agent: str | None = None,
        deadline: float | None = None,
        allowance: Allowance | None = None,
    ) -> "ExecutionContext":
        """Return the context of a run that this one starts: a span and a run of its own.

        Its deadline is never later than this one's; an `allowance` must come from `narrowed`.
        """
        return replace(
            self,
            trace=replace(self.trace, span_id=random_hex(8)),
            run_id=new_run_id(),
            agent=self.agent if agent is None else agent,
            deadline=self.deadline if deadline is None else min(deadline, self.deadline),
            allowance=self.allowance if allowance is None else allowance,
        )
