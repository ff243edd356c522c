"""Chooses package versions: by exact weights for new sessions, by what they began with for others.

Smooth weighted round-robin instead of chance: of any 100 new sessions in a row exactly `weight`
begin with a version, so a canary of 1 percent is neither missed nor doubled by bad luck. Each agent
is counted by itself: sessions of two agents that alternate would else fall into step with the
shares, and one of them would never see the new version. Replicas count by themselves too, each
exact to one session, so that no round trip stands before a new session.
"""

from bulkhead_api.v1alpha1.agent_package import Agent
from bulkhead_runtime import errors
from bulkhead_runtime.config.snapshot import Configuration, Version


class VersionRouter:
    """Remembers how often each version was due; belongs to the event loop's thread."""

    def __init__(self) -> None:
        self._due: dict[tuple[str, str, str], int] = {}

    def for_new_session(self, configuration: Configuration, agent: str) -> tuple[Version, Agent]:
        """Return the version whose turn it is; raise a 404 `Problem` for an unknown agent."""
        versions = configuration.serving.get(agent)
        if not versions:
            raise errors.unknown_agent(agent)
        version = versions[0] if len(versions) == 1 else self._next(agent, versions)
        return version, version.agents[agent]

    def for_session(
        self, configuration: Configuration, agent: str, package: str, version: str
    ) -> tuple[Version, Agent]:
        """Return the version that a session began with, the current one when it is gone.

        Raises a 404 `Problem` when no version in service has the agent any more.
        """
        pinned = configuration.versions.get((package, version))
        if pinned is not None and agent in pinned.agents:
            return pinned, pinned.agents[agent]
        return current_version(configuration, agent)

    def forget_departed(self, configuration: Configuration) -> None:
        """Drop what is remembered of versions that are no longer loaded."""
        loaded = configuration.versions
        self._due = {key: due for key, due in self._due.items() if key[1:] in loaded}

    def _next(self, agent: str, versions: tuple[Version, ...]) -> Version:
        total = 0
        chosen = versions[0]
        best: int | None = None
        for version in versions:
            key = (agent, version.package, version.version)
            due = self._due.get(key, 0) + version.weight
            self._due[key] = due
            total += version.weight
            if best is None or due > best:
                chosen, best = version, due
        self._due[(agent, chosen.package, chosen.version)] -= total
        return chosen


def current_version(configuration: Configuration, agent: str) -> tuple[Version, Agent]:
    """Return the version with the largest share of new sessions, without counting it as one."""
    versions = configuration.serving.get(agent)
    if not versions:
        raise errors.unknown_agent(agent)
    version = max(versions, key=lambda candidate: candidate.weight)
    return version, version.agents[agent]
