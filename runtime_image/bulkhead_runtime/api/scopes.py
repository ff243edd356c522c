"""What a principal may do, and which scope each thing needs."""

from typing import Final

from bulkhead_runtime.errors import Problem
from bulkhead_runtime.kernel.context import EVERYTHING, SESSIONS_ANY, Principal

AGENTS_RUN: Final = "agents:run"
MODELS_CALL: Final = "models:call"
TOOLS_RUN: Final = "tools:run"
SESSIONS_READ: Final = "sessions:read"
SESSIONS_WRITE: Final = "sessions:write"
USAGE_READ: Final = "usage:read"
EVENTS_READ: Final = "events:read"
POLICIES_WRITE: Final = "policies:write"
KEYS_WRITE: Final = "keys:write"

MAX_PRINCIPAL_CHARACTERS: Final = 256

SCOPES: Final = frozenset(
    {
        AGENTS_RUN,
        MODELS_CALL,
        TOOLS_RUN,
        SESSIONS_READ,
        SESSIONS_WRITE,
        SESSIONS_ANY,
        USAGE_READ,
        EVENTS_READ,
        POLICIES_WRITE,
        KEYS_WRITE,
        EVERYTHING,
    }
)


def require(principal: Principal, scope: str) -> None:
    """Raise a 403 `Problem` unless the principal has the scope."""
    if not principal.may(scope):
        raise Problem(
            403,
            "missing_scope",
            f"This needs the scope `{scope}`, which the key {principal.key_name!r} does not have.",
        )


def owner(principal: Principal) -> str | None:
    """Return whose sessions, uses and events a principal sees; None is everybody's."""
    return principal.whose_sessions
