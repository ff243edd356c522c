"""Sees the runtime through to the wanted configuration, and asks now and then how it is.

A kubelet looks at mounted files once a minute; a changed annotation makes it look at once. So the
pods are touched when the configuration changed, and again until each reports the wanted hash.
"""

import asyncio
from dataclasses import dataclass
from datetime import datetime
from time import monotonic
from typing import Any, Final

from bulkhead_api.names import ANNOTATION_CONFIGURATION_HASH, package_key
from bulkhead_api.runtime_state import RuntimeState
from bulkhead_operator.cluster.port import Manifest, ObjectKey
from bulkhead_operator.context import Context
from bulkhead_operator.errors import ClusterError, LeaseLost
from bulkhead_operator.reconcile.memory import Following, Image, Memory, Replica
from bulkhead_operator.resources import labels
from bulkhead_operator.resources.blueprint import Blueprint
from bulkhead_operator.status.organization import Configuration, Workload

WAIT_SECONDS: Final = 1.0
"""How long one question waits for the configuration to be followed."""

TRIES: Final = 3
"""Questions in one reconcile: a worker is never held longer than a few seconds."""

TRIES_BEFORE_REFUSED: Final = 4
"""A file that is not there yet looks like one that is refused; this many times is for good."""

STARTING_SECONDS: Final = 10.0
"""Longer than a runtime takes to start, much shorter than a Deployment waits for it."""

CRASH_LOOP: Final = "CrashLoopBackOff"
_LONGEST_DELAY: Final = 30.0
_ROUNDING: Final = 0.9
"""The resync is spread with jitter; a round that comes a little early is a round."""


@dataclass(frozen=True, slots=True)
class Followed:
    """How far the runtime is, and when to ask again if it is not there."""

    configuration: Configuration
    again_after: float | None = None
    asked: bool = False
    """Whether there are new answers to decide by."""


@dataclass(frozen=True, slots=True)
class Interest:
    """What rollouts want to know, and how old an answer may be, in seconds."""

    oldest: float | None = None
    measured: bool = False


NO_INTEREST: Final = Interest()


async def follow(
    context: Context,
    blueprint: Blueprint,
    workload: Workload,
    memory: Memory,
    interest: Interest = NO_INTEREST,
) -> Followed:
    """Ask every replica, if there is reason to, until it follows the wanted configuration."""
    following = memory.following
    if blueprint.organization.spec.suspend or workload.available + workload.existing == 0:
        following.replicas.clear()
        following.followed = ""
        following.starting_since = None
        return Followed(Configuration())
    if (patience := _patience(following, workload)) > 0:
        return Followed(Configuration(), again_after=patience)
    wanted = blueprint.configuration.hash
    signature = (wanted, workload)
    if not _worth_asking(context, following, signature, wanted, interest):
        return Followed(_configuration(following, wanted))
    await _list_replicas(context, blueprint, following, signature)
    await _until_followed(context, blueprint, memory, _included(following, interest))
    _note_image(following)
    following.asked_at = monotonic()
    following.signature = signature
    if following.followed == wanted:
        following.attempts = 0
        return Followed(_configuration(following, wanted), asked=True)
    newly_refused = _note_refusals(blueprint, following)
    delay = 0.0 if newly_refused else min(0.5 * 2 ** min(following.attempts, 10), _LONGEST_DELAY)
    return Followed(_configuration(following, wanted), again_after=delay, asked=newly_refused)


def _patience(following: Following, workload: Workload) -> float:
    """Return the seconds that pods may still take before one that is not ready is asked why.

    Asking one that does not listen yet would hold the worker, and the news that it is ready.
    """
    if workload.available > 0 or workload.failure:
        following.starting_since = None
        return 0.0
    if following.starting_since is None:
        following.starting_since = monotonic()
    return following.starting_since + STARTING_SECONDS - monotonic()


def _worth_asking(
    context: Context,
    following: Following,
    signature: tuple[object, ...],
    wanted: str,
    interest: Interest,
) -> bool:
    if following.followed != wanted or following.signature != signature:
        return True
    oldest: float = context.settings.usage_seconds
    if interest.oldest is not None:
        oldest = min(oldest, interest.oldest)
    return following.wants_image or monotonic() - following.asked_at >= oldest * _ROUNDING


def _included(following: Following, interest: Interest) -> tuple[str, ...]:
    """Return what answers must hold that they do not always hold."""
    wishes = (("measurements", interest.measured), ("libraries", following.wants_image))
    return tuple(name for name, wanted in wishes if wanted)


def _note_image(following: Following) -> None:
    """Remember what the image holds, until another runtime answers."""
    states = [one.state for one in following.replicas.values() if one.state is not None]
    if not states:
        return
    newest = states[-1]
    if following.image is not None and following.image.runtime != newest.runtime_version:
        following.image = None
    if following.wants_image:
        following.image = Image(newest.runtime_version, newest.python, newest.libraries)


async def _list_replicas(
    context: Context, blueprint: Blueprint, following: Following, signature: tuple[object, ...]
) -> None:
    if following.replicas and following.signature[1:] == signature[1:] and following.attempts == 0:
        return
    pods = await context.cluster.list(
        "v1", "Pod", blueprint.namespace, labels.selector_text(blueprint.name)
    )
    known = following.replicas
    following.replicas = {}
    following.crashing_since = max(filter(None, map(_crashed_at, pods)), default=None)
    for pod in pods:
        if _serves(pod):
            uid = pod["metadata"]["uid"]
            replica = Replica(pod["metadata"]["name"], pod["status"]["podIP"])
            replica.state = known[uid].state if uid in known else None
            following.replicas[uid] = replica


def _crashed_at(pod: Manifest) -> int:
    """Return when a container ended that the kubelet gives pauses between restarts; 0 for none."""
    for container in (pod.get("status") or {}).get("containerStatuses") or ():
        waiting = (container.get("state") or {}).get("waiting") or {}
        ended = (container.get("lastState") or {}).get("terminated") or {}
        if waiting.get("reason") == CRASH_LOOP and "finishedAt" in ended:
            return int(datetime.fromisoformat(ended["finishedAt"]).timestamp())
    return 0


def _serves(pod: Manifest) -> bool:
    status: dict[str, Any] = pod.get("status") or {}
    running = status.get("phase") == "Running" and bool(status.get("podIP"))
    return running and "deletionTimestamp" not in pod["metadata"]


async def _until_followed(
    context: Context, blueprint: Blueprint, memory: Memory, included: tuple[str, ...]
) -> None:
    following = memory.following
    wanted = blueprint.configuration.hash
    for _ in range(TRIES):
        mark = str(following.attempts or "")
        behind = [one for one in following.replicas.values() if _hash(one) != wanted]
        await asyncio.gather(
            *(_touch(context, blueprint, one, mark) for one in behind if one.state)
        )
        await asyncio.gather(
            *(
                _ask(context, blueprint, memory, one, included)
                for one in following.replicas.values()
            )
        )
        reached = [_hash(one) == wanted for one in following.replicas.values()]
        if reached and all(reached):
            following.followed = wanted
            return
        following.attempts += 1
        if not any(one.state for one in following.replicas.values()):
            return  # nobody can be reached; asking again at once would only hold the worker


def _hash(replica: Replica) -> str:
    return replica.state.configuration_hash if replica.state else ""


async def touch_all(context: Context, blueprint: Blueprint, memory: Memory, mark: str) -> None:
    """Let every known replica see changed files at once; `mark` must differ from time to time."""
    replicas = memory.following.replicas.values()
    await asyncio.gather(*(_touch(context, blueprint, one, mark) for one in replicas))


async def _touch(context: Context, blueprint: Blueprint, replica: Replica, mark: str) -> None:
    value = blueprint.configuration.hash + (f".{mark}" if mark else "")
    key = ObjectKey("v1", "Pod", blueprint.namespace, replica.name)
    patch = {"metadata": {"annotations": {ANNOTATION_CONFIGURATION_HASH: value}}}
    try:
        await context.cluster.patch(key, patch)
    except LeaseLost:
        raise
    except ClusterError:
        # Gone meanwhile, or the kubelet looks by itself a little later.
        return


async def _ask(
    context: Context,
    blueprint: Blueprint,
    memory: Memory,
    replica: Replica,
    included: tuple[str, ...],
) -> None:
    token = memory.secrets.internal_token if memory.secrets else ""
    try:
        state = await context.runtimes.state(
            replica.address,
            token,
            configuration_hash=blueprint.configuration.hash,
            wait_seconds=WAIT_SECONDS,
            include=included,
        )
    except ClusterError:
        replica.state = None
        return
    replica.state = state if state.organization == blueprint.name else None


def _note_refusals(blueprint: Blueprint, following: Following) -> bool:
    """Remember documents that are refused for good; tells whether there are new ones."""
    if following.attempts < TRIES_BEFORE_REFUSED:
        return False
    checksums = {
        package_key(route.package, version.version): version.checksum
        for route in blueprint.configuration.routes
        for version in route.versions
    }
    new = False
    for refusal in _refusals(following):
        checksum = checksums.get(refusal[0])
        if checksum is not None and refusal[0] not in following.refused:
            following.refused[refusal[0]] = (checksum, refusal[1])
            new = True
    return new


def _refusals(following: Following) -> list[tuple[str, str]]:
    return [
        (refusal.what, refusal.message)
        for replica in following.replicas.values()
        if replica.state is not None
        for refusal in replica.state.refusals
    ]


def _configuration(following: Following, wanted: str) -> Configuration:
    states = [one.state for one in following.replicas.values() if one.state is not None]
    followed = following.followed == wanted
    refusals = _refusals(following)
    given_up = not followed and following.attempts >= TRIES_BEFORE_REFUSED and bool(refusals)
    return Configuration(
        followed=followed,
        hash=following.followed or None,
        agents=_agents(states) if states else None,
        refusal=f"The runtime refuses {refusals[0][0]}: {refusals[0][1]}." if given_up else "",
    )


def _agents(states: list[RuntimeState]) -> int:
    """Return the agents that every replica offers to new sessions."""
    offered = [
        {agent for version in state.versions if version.weight for agent in version.agents}
        for state in states
    ]
    return len(set.intersection(*offered))
