"""Knows which versions may still have sessions.

A runtime may follow what was written a moment before it says so: what it reported of a former
configuration says nothing about the versions of the last one.
"""

from bulkhead_api.names import package_key
from bulkhead_api.runtime_state import RuntimeState
from bulkhead_operator.packages.rollout import VersionId
from bulkhead_operator.reconcile.memory import Memory


def is_drained(memory: Memory, package: str, version: VersionId) -> bool:
    """Tell whether it is known that a version has no session and gets none."""
    refused, _ = memory.following.refused.get(package_key(package, version.version), ("", ""))
    return refused == version.checksum or _is_empty(memory, package, version)


def _is_empty(memory: Memory, package: str, version: VersionId) -> bool:
    """Tell whether every replica reported, while it got no new sessions, that none is left."""
    written = memory.blueprint
    if written is None or memory.following.followed != written.configuration.hash:
        return False
    gets_sessions = any(
        (route.package, one.version, one.checksum) == (package, version.version, version.checksum)
        for route in written.configuration.routes
        for one in route.versions
        if one.weight
    )
    states = [replica.state for replica in memory.following.replicas.values()]
    return (
        not gets_sessions
        and bool(states)
        and all(state is not None and _sessions(state, package, version) == 0 for state in states)
    )


def _sessions(state: RuntimeState, package: str, version: VersionId) -> int:
    return sum(
        one.sessions
        for one in state.versions
        if (one.package, one.version, one.checksum) == (package, version.version, version.checksum)
    )
