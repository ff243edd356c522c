"""Series that belong to one object each, and go when it goes or when this replica stops leading.

Written by reconciles, read by the metrics server's thread. Only the leader knows objects, so that
sums over replicas count every object once.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final, get_args

from prometheus_client import CollectorRegistry
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from bulkhead_api.v1alpha1 import OrganizationRuntime
from bulkhead_api.v1alpha1.organization_runtime import (
    OrganizationRuntimeSpec,
    OrganizationRuntimeStatus,
)
from bulkhead_operator.reconcile.keys import ORGANIZATION, Key

MEBIBYTE: Final = 1024 * 1024
PERCENT: Final = 100
MILLI: Final = 1000

STATES: Final[tuple[str, ...]] = tuple(
    state
    for one in get_args(OrganizationRuntimeStatus.model_fields["state"].annotation)
    for state in get_args(one)
)


class ObjectSeries(Collector):
    """A gauge with series that an object has while it is there."""

    def __init__(self, name: str, documentation: str, labels: tuple[str, ...]) -> None:
        self._described = (name, documentation)
        self._labels = labels
        self._series: dict[Key, Mapping[tuple[str, ...], float]] = {}

    def set(self, key: Key, series: Mapping[tuple[str, ...], float]) -> None:
        """Replace an object's series: values of the labels to the value."""
        self._series[key] = series

    def remove(self, key: Key) -> None:
        """Drop the series of an object that is gone."""
        self._series.pop(key, None)

    def clear(self) -> None:
        """Drop the series of all objects."""
        self._series.clear()

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Return the series."""
        family = GaugeMetricFamily(*self._described, labels=self._labels)
        for series in list(self._series.values()):
            for labels, value in series.items():
                family.add_metric(labels, value)
        yield family

    def describe(self) -> Iterable[GaugeMetricFamily]:
        """Return nothing, so that registering does not collect."""
        return ()


class _States(Collector):
    """How many organizations are in each state; none is told as 0."""

    def __init__(self) -> None:
        self._states: dict[Key, str] = {}

    def set(self, key: Key, state: str) -> None:
        self._states[key] = state

    def remove(self, key: Key) -> None:
        self._states.pop(key, None)

    def clear(self) -> None:
        self._states.clear()

    def collect(self) -> Iterator[GaugeMetricFamily]:
        family = GaugeMetricFamily(
            "bulkhead_organizations", "Organizations by state.", labels=("state",)
        )
        counted = Counter(list(self._states.values()))
        for state in STATES:
            family.add_metric((state,), counted[state])
        yield family

    def describe(self) -> Iterable[GaugeMetricFamily]:
        return ()


class ObjectMetrics:
    """What is told of organizations, packages and pools one by one."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.conditions = ObjectSeries(
            "bulkhead_resource_condition",
            "Conditions of our resources: 1 for the status that holds.",
            ("kind", "namespace", "name", "organization", "type", "status"),
        )
        self.rollouts = ObjectSeries(
            "bulkhead_rollout_phase",
            "Rollouts of packages: 1 for the phase that holds.",
            ("namespace", "name", "organization", "phase"),
        )
        self.limits = ObjectSeries(
            "bulkhead_organization_limit",
            "What all replicas of an organization may use: cpu_cores, memory_bytes, storage_bytes.",
            ("organization", "resource"),
        )
        self.reserved = ObjectSeries(
            "bulkhead_organization_reserved",
            "What the cluster keeps free for all replicas of an organization, by resource.",
            ("organization", "resource"),
        )
        self.states = _States()
        self._all = (self.conditions, self.rollouts, self.limits, self.reserved, self.states)
        for collector in self._all:
            registry.register(collector)

    def reported(self, key: Key, organization: str | None, status: Mapping[str, Any]) -> None:
        """Tell an object's status; `organization` is whose it is, as far as that is known."""
        owner = organization or ""
        self.conditions.set(
            key,
            {
                (key.kind, key.namespace or "", key.name, owner, one["type"], one["status"]): 1
                for one in status["conditions"]
            },
        )
        if key.kind == ORGANIZATION:
            self.states.set(key, status["state"])

    def shifted(self, key: Key, organization: str, phase: str) -> None:
        """Tell in which phase a package's present or last rollout is."""
        self.rollouts.set(key, {(key.namespace or "", key.name, organization, phase): 1})

    def bounded(self, organization: OrganizationRuntime) -> None:
        """Tell what an organization may use and what is reserved for it."""
        spec, name = organization.spec, organization.metadata.name
        replicas = 0 if spec.suspend else spec.replicas
        limits, requests = spec.limits, spec.limits.requests
        cores = limits.max_cpu_percent / PERCENT
        storage = _storage_bytes(spec)
        key = Key.organization(name)
        self.limits.set(
            key,
            {
                (name, "cpu_cores"): replicas * cores,
                (name, "memory_bytes"): replicas * limits.max_memory_mb * MEBIBYTE,
                (name, "storage_bytes"): storage,
            },
        )
        self.reserved.set(
            key,
            {
                (name, "cpu_cores"): replicas * requests.cpu_millicores / MILLI,
                (name, "memory_bytes"): replicas * requests.memory_mb * MEBIBYTE,
                (name, "storage_bytes"): storage,
            },
        )

    def forget(self, key: Key) -> None:
        """Drop everything about an object that is gone."""
        for collector in self._all:
            collector.remove(key)

    def forget_all(self) -> None:
        """Drop everything: from now on another replica tells it."""
        for collector in self._all:
            collector.clear()


def _storage_bytes(spec: OrganizationRuntimeSpec) -> int:
    """Return the size of the volume; an organization on a shared store has none."""
    return 0 if spec.storage.postgres is not None else spec.storage.size_mb * MEBIBYTE
