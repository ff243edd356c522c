"""What is known of the pods of versions with an image of their own, by the version's checksum."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from bulkhead_operator.packages.rollout import Failure

CRASH_LOOP: Final = "CrashLoop"
NOT_STARTING: Final = "PodsNotStarting"
LONGEST_REASON: Final = 200

_CRASHES: Final = "CrashLoopBackOff"
_HOPELESS: Final = frozenset({"CreateContainerConfigError", "InvalidImageName"})
"""What the kubelet says of a pod that nothing but another version can start."""

_STARTING: Final = frozenset({"ContainerCreating", "PodInitializing"})


@dataclass(frozen=True, slots=True)
class Pods:
    """Which versions wait for pods, which have none, and which can never have any."""

    waiting: Mapping[str, str] = field(default_factory=dict)
    """Why not all of a version's pods are ready."""
    down: frozenset[str] = frozenset()
    """Versions of which no pod is ready."""
    failures: Mapping[str, Failure] = field(default_factory=dict)
    ringing: frozenset[str] = frozenset()
    """Versions that wait for something whose end is told, so that nobody has to look."""


def trouble(pods: Iterable[Mapping[str, Any]]) -> tuple[str, Failure | None]:
    """Return what pods wait for, and why they are given up; the first that says something."""
    said = ""
    for container in _containers(pods):
        waiting = (container.get("state") or {}).get("waiting") or {}
        reason = str(waiting.get("reason", ""))
        if reason == _CRASHES:
            return _crashing(container)
        if reason in _HOPELESS:
            told = f"its pods cannot start: {_told(reason, waiting)}"
            return told, Failure(NOT_STARTING, told)
        if reason and reason not in _STARTING:
            said = said or f"its pods do not start: {_told(reason, waiting)}"
    return said, None


def _containers(pods: Iterable[Mapping[str, Any]]) -> Iterable[Mapping[str, Any]]:
    for pod in pods:
        if "deletionTimestamp" not in pod["metadata"]:
            yield from (pod.get("status") or {}).get("containerStatuses") or ()


def _crashing(container: Mapping[str, Any]) -> tuple[str, Failure]:
    ended = (container.get("lastState") or {}).get("terminated") or {}
    told = f"its pods crash again and again (exit code {ended.get('exitCode', 'unknown')})"
    return told, Failure(CRASH_LOOP, told)


def _told(reason: str, waiting: Mapping[str, Any]) -> str:
    message = str(waiting.get("message", ""))
    return f"{reason} {message}".strip()[:LONGEST_REASON]
