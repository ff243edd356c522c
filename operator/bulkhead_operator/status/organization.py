"""The status of an OrganizationRuntime: a pure function of what one reconcile found."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from bulkhead_api.v1alpha1 import OrganizationRuntime
from bulkhead_operator.errors import NotReadyYet, UserError
from bulkhead_operator.status import conditions as words
from bulkhead_operator.status import reasons
from bulkhead_operator.status.conditions import Statement, conditions


@dataclass(frozen=True, slots=True)
class Workload:
    """The Deployment as last seen."""

    wanted: int
    available: int
    current: bool
    """Whether every pod is of the current template and its controller has seen that."""
    existing: int = 0
    """Pods that are there, available or not."""
    failure: str = ""
    """Why its pods do not start, once its controller has given up waiting."""


@dataclass(frozen=True, slots=True)
class Configuration:
    """How far the runtime follows the configuration."""

    followed: bool = False
    hash: str | None = None
    """Hash of the configuration that every replica follows."""
    agents: int | None = None
    refusal: str = ""


@dataclass(slots=True)
class Found:
    """What a reconcile found, filled in as it goes; what it did not come to is None."""

    namespace: str | None = None
    namespace_uid: str | None = None
    namespace_made: bool | None = None
    url: str | None = None
    runtime_id: str | None = None
    workload: Workload | None = None
    configuration: Configuration = Configuration()
    missing_credentials: str | None = None
    """What is missing and what to do about it; empty when nothing is, None when not checked."""
    needs_credentials: bool = False
    missing_documents: str = ""
    """Which ConfigMap of documents is missing and what to do about it."""
    handled_rotation: str | None = None
    restart_pending: tuple[str, str] | None = None
    """Reason and message while an upgrade of the operator waits to restart the pods."""
    stalled: UserError | None = None
    waiting: NotReadyYet | None = None
    """Why the reconcile ended early: something is under way."""
    terminating: str = ""
    """What the deletion waits for."""


def status(organization: OrganizationRuntime, found: Found, time: str) -> dict[str, Any]:
    """Return the whole status."""
    recorded = organization.status
    previous = [
        condition.model_dump(by_alias=True, exclude_none=True) for condition in recorded.conditions
    ]
    statements = tuple(_statements(organization, found))
    generation = organization.metadata.generation
    values = {
        "observedGeneration": generation,
        "conditions": conditions(statements, generation=generation, previous=previous, time=time),
        "state": state(organization, found, {one.type: one for one in statements}),
        "runtimeId": found.runtime_id or recorded.runtime_id,
        "namespace": found.namespace or recorded.namespace,
        "namespaceUID": found.namespace_uid or recorded.namespace_uid,
        "namespaceCreated": _first(found.namespace_made, recorded.namespace_created),
        "url": found.url or recorded.url,
        "activeAgents": _first(found.configuration.agents, recorded.active_agents),
        "configurationHash": found.configuration.hash or recorded.configuration_hash,
        "handledApiKeyRotation": found.handled_rotation or recorded.handled_api_key_rotation,
    }
    return {name: value for name, value in values.items() if value is not None}


def _first(found: Any, recorded: Any) -> Any:
    return recorded if found is None else found


def _statements(organization: OrganizationRuntime, found: Found) -> Iterator[Statement]:
    facts = tuple(_facts(organization, found))
    yield from facts
    yield from _summary(organization, found, {fact.type: fact for fact in facts})


def _facts(organization: OrganizationRuntime, found: Found) -> Iterator[Statement]:
    if found.workload is not None:
        yield _workload_available(organization, found.workload)
        yield _configuration_loaded(organization, found)
    if found.missing_credentials is not None:
        yield _credentials_present(found)
    if found.restart_pending is not None:
        yield Statement(words.RESTART_PENDING, "True", *found.restart_pending)


def _workload_available(organization: OrganizationRuntime, workload: Workload) -> Statement:
    kind = words.WORKLOAD_AVAILABLE
    if organization.spec.suspend:
        return Statement(kind, "False", reasons.SUSPENDED, "The runtime is stopped.")
    if workload.available > 0:
        return Statement(kind, "True", reasons.MINIMUM_AVAILABLE, "The runtime answers.")
    if workload.failure:
        return Statement(kind, "False", reasons.PODS_NOT_STARTING, workload.failure)
    return Statement(kind, "False", reasons.WAITING_FOR_PODS, "The runtime's pod is starting.")


def _configuration_loaded(organization: OrganizationRuntime, found: Found) -> Statement:
    kind = words.CONFIGURATION_LOADED
    configuration = found.configuration
    if organization.spec.suspend:
        return Statement(kind, "Unknown", reasons.SUSPENDED, "The runtime is stopped.")
    if configuration.refusal:
        return Statement(kind, "False", reasons.CONFIGURATION_REFUSED, configuration.refusal)
    if configuration.followed:
        message = "Every replica follows the current configuration."
        return Statement(kind, "True", reasons.CONFIGURATION_LOADED, message)
    message = "The runtime has not reported the current configuration yet."
    return Statement(kind, "False", reasons.CONFIGURATION_PENDING, message)


def _credentials_present(found: Found) -> Statement:
    kind = words.CREDENTIALS_PRESENT
    if found.missing_credentials:
        return Statement(kind, "False", reasons.CREDENTIALS_MISSING, found.missing_credentials)
    if found.needs_credentials:
        return Statement(kind, "True", reasons.CREDENTIALS_FOUND, "Every Secret is there.")
    return Statement(kind, "True", reasons.CREDENTIALS_NOT_NEEDED, "Nothing needs a Secret.")


def _summary(
    organization: OrganizationRuntime, found: Found, facts: Mapping[str, Statement]
) -> tuple[Statement, ...]:
    if found.terminating:
        return words.reconciling(reasons.TERMINATING, found.terminating)
    if found.stalled is not None:
        return words.stalled(found.stalled.reason, found.stalled.message)
    if found.waiting is not None:
        return words.reconciling(found.waiting.reason, found.waiting.message)
    if organization.spec.suspend:
        message = "The runtime is stopped because `spec.suspend` is true; its data is kept."
        return (Statement(words.READY, "False", reasons.SUSPENDED, message),)
    return _obstacle(found) or _progress(found, facts)


def _obstacle(found: Found) -> tuple[Statement, ...]:
    obstacles = (
        (reasons.PODS_NOT_STARTING, found.workload.failure if found.workload else ""),
        (reasons.CREDENTIALS_MISSING, found.missing_credentials),
        (reasons.DOCUMENTS_MISSING, found.missing_documents),
        (reasons.CONFIGURATION_REFUSED, found.configuration.refusal),
    )
    for reason, message in obstacles:
        if message:
            return words.stalled(reason, message)
    return ()


def _progress(found: Found, facts: Mapping[str, Statement]) -> tuple[Statement, ...]:
    for kind in (words.WORKLOAD_AVAILABLE, words.CONFIGURATION_LOADED):
        fact = facts.get(kind)
        if fact is None or not fact.holds:
            reason = reasons.WAITING_FOR_PODS if fact is None else fact.reason
            message = "The runtime's pod is starting." if fact is None else fact.message
            return words.reconciling(reason, message)
    if found.workload is not None and not found.workload.current and not found.restart_pending:
        return words.reconciling(reasons.ROLLING_OUT, "Pods of the new template are starting.")
    message = "The runtime answers and follows the current configuration."
    return (Statement(words.READY, "True", reasons.READY, message),)


def state(
    organization: OrganizationRuntime, found: Found, statements: Mapping[str, Statement]
) -> str:
    """Return the conditions in one word, for people."""
    if found.terminating:
        return "terminating"
    if organization.spec.suspend and found.stalled is None:
        return "suspended"
    if statements[words.READY].holds:
        return "active"
    served = found.configuration.hash or organization.status.configuration_hash
    return "degraded" if served else "pending"
