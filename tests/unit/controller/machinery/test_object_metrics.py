"""Series of single objects: they say what holds, and go with the object or the leadership."""

from typing import Any

import pytest

from bulkhead_api.v1alpha1 import OrganizationRuntime
from bulkhead_operator.metrics import Metrics
from bulkhead_operator.reconcile.keys import PACKAGE, Key
from bulkhead_operator.settings import ResourcePrices

ACME = Key.organization("acme")
HELPER = Key(PACKAGE, "org-acme", "helper")
READY = {"type": "Ready", "status": "True"}
NOT_READY = {"type": "Ready", "status": "False"}


@pytest.fixture
def metrics() -> Metrics:
    return Metrics("1.2.3")


def organization(**spec: Any) -> OrganizationRuntime:
    limits = {
        "maxCPUPercent": 150,
        "maxMemoryMB": 1024,
        "requests": {"cpuMillicores": 250, "memoryMB": 256},
    }
    return OrganizationRuntime.model_validate(
        {
            "apiVersion": "bulkhead.dev/v1alpha1",
            "kind": "OrganizationRuntime",
            "metadata": {"name": "acme", "uid": "u", "generation": 1},
            "spec": {"limits": limits, **spec},
        }
    )


def series(metrics: Metrics, name: str) -> dict[tuple[str, ...], float]:
    """Return the series of one metric: the values of its labels, sorted by label, to the value."""
    return {
        tuple(value for _, value in sorted(sample.labels.items())): sample.value
        for family in metrics.registry.collect()
        if family.name == name
        for sample in family.samples
    }


def test_a_condition_names_whose_object_it_is_and_only_the_status_that_holds(
    metrics: Metrics,
) -> None:
    metrics.objects.reported(HELPER, "acme", {"conditions": [NOT_READY]})
    metrics.objects.reported(HELPER, "acme", {"conditions": [READY]})
    assert series(metrics, "bulkhead_resource_condition") == {
        ("AgentPackage", "helper", "org-acme", "acme", "True", "Ready"): 1
    }


def test_organizations_are_counted_by_state_and_no_state_is_left_out(metrics: Metrics) -> None:
    for name, state in (("acme", "active"), ("globex", "active"), ("hooli", "degraded")):
        key = Key.organization(name)
        metrics.objects.reported(key, name, {"conditions": [READY], "state": state})
    counted = series(metrics, "bulkhead_organizations")
    assert counted[("active",)] == 2
    assert counted[("degraded",)] == 1
    assert counted[("terminating",)] == 0


def test_limits_and_reservations_count_every_replica(metrics: Metrics) -> None:
    shared = {"secretRef": {"name": "store", "key": "dsn"}}
    metrics.objects.bounded(organization(replicas=3, storage={"postgres": shared}))
    assert series(metrics, "bulkhead_organization_limit") == {
        ("acme", "cpu_cores"): 4.5,
        ("acme", "memory_bytes"): 3 * 1024**3,
        ("acme", "storage_bytes"): 0,
    }
    assert series(metrics, "bulkhead_organization_reserved") == {
        ("acme", "cpu_cores"): 0.75,
        ("acme", "memory_bytes"): 3 * 256 * 1024**2,
        ("acme", "storage_bytes"): 0,
    }


def test_a_suspended_organization_keeps_its_volume_and_nothing_else(metrics: Metrics) -> None:
    metrics.objects.bounded(organization(suspend=True, storage={"sizeMB": 512}))
    assert series(metrics, "bulkhead_organization_reserved") == {
        ("acme", "cpu_cores"): 0,
        ("acme", "memory_bytes"): 0,
        ("acme", "storage_bytes"): 512 * 1024**2,
    }


def test_what_is_gone_leaves_no_series_and_what_is_there_keeps_its_own(metrics: Metrics) -> None:
    status = {"conditions": [READY], "state": "active"}
    for name in ("acme", "globex"):
        metrics.objects.reported(Key.organization(name), name, status)
    metrics.objects.shifted(HELPER, "acme", "Shift")
    metrics.objects.forget(ACME)
    metrics.objects.forget(HELPER)
    assert [labels[3] for labels in series(metrics, "bulkhead_resource_condition")] == ["globex"]
    assert series(metrics, "bulkhead_rollout_phase") == {}
    assert series(metrics, "bulkhead_organizations")[("active",)] == 1


def test_a_replica_that_no_longer_leads_tells_of_no_object(metrics: Metrics) -> None:
    metrics.objects.reported(ACME, "acme", {"conditions": [READY], "state": "active"})
    metrics.objects.bounded(organization())
    metrics.objects.forget_all()
    assert series(metrics, "bulkhead_resource_condition") == {}
    assert series(metrics, "bulkhead_organization_limit") == {}
    assert set(series(metrics, "bulkhead_organizations").values()) == {0}


def test_prices_are_told_for_the_units_in_which_reservations_are() -> None:
    prices = ResourcePrices(cpu_core=0.03, memory_gib=0.5, storage_gib=0.25)
    told = series(Metrics("1.2.3", prices), "bulkhead_resource_price_usd_per_hour")
    assert told == {
        ("cpu_cores",): 0.03,
        ("memory_bytes",): 0.5 / 1024**3,
        ("storage_bytes",): 0.25 / 1024**3,
    }


def test_the_age_of_a_watch_is_told_by_kind(metrics: Metrics) -> None:
    assert series(metrics, "bulkhead_watch_last_event_age_seconds") == {}
    metrics.watches.follow(lambda: {"Deployment": 12.5})
    assert series(metrics, "bulkhead_watch_last_event_age_seconds") == {("Deployment",): 12.5}
