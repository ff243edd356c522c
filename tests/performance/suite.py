"""Which rows there are, and the order in which they run: the short ones first."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.performance.harness.results import Bar
from tests.performance.harness.rounds import Round
from tests.performance.rows import (
    canary_shares,
    embedded_store,
    fleet_metrics,
    litellm_proxy,
    many_packages,
    metrics_cost,
    middleware,
    open_streams,
    operator_growth,
    operator_writes,
    organization_ready,
    package_upgrade,
    reconcile,
    rolling_updates,
    rollouts,
    runtime_start,
    session_stores,
    streams,
    turn_growth,
    turns,
    version_churn,
    whole_turns,
    writing,
)


@dataclass(frozen=True)
class Family:
    """Rows that follow from the same rounds."""

    title: str
    bars: tuple[Bar, ...]
    measure: Callable[[Path, int], list[Round]]
    rounds: int = 5


FAMILIES = (
    Family("Runtime start", runtime_start.BARS, runtime_start.measure),
    Family("Middleware", middleware.BARS, middleware.measure),
    Family("Stateless streams", streams.BARS, streams.measure),
    Family("Open streams", open_streams.BARS, open_streams.measure, rounds=3),
    Family("LiteLLM proxy", litellm_proxy.BARS, litellm_proxy.measure),
    Family("Embedded store", embedded_store.BARS, embedded_store.measure),
    Family("Durable turns", turns.BARS, turns.measure),
    Family("Whole turns", whole_turns.BARS, whole_turns.measure, rounds=3),
    Family("Writing", writing.BARS, writing.measure),
    Family("Metrics", metrics_cost.BARS, metrics_cost.measure),
    Family("Growth over turns", turn_growth.BARS, turn_growth.measure, rounds=2),
    Family("Session stores", session_stores.BARS, session_stores.measure),
    Family("Organization ready", organization_ready.BARS, organization_ready.measure),
    Family("Package upgrade", package_upgrade.BARS, package_upgrade.measure, rounds=10),
    Family("Rollouts", rollouts.BARS, rollouts.measure, rounds=5),
    Family("Version churn", version_churn.BARS, version_churn.measure, rounds=1),
    Family("Canary shares", canary_shares.BARS, canary_shares.measure, rounds=1),
    Family("Many packages", many_packages.BARS, many_packages.measure, rounds=3),
    Family("Fleet metrics", fleet_metrics.BARS, fleet_metrics.measure, rounds=1),
    Family("Operator writes", operator_writes.BARS, operator_writes.measure, rounds=1),
    Family("Reconcile", reconcile.BARS, reconcile.measure, rounds=2),
    Family("Operator growth", operator_growth.BARS, operator_growth.measure, rounds=1),
    Family("Rolling updates", rolling_updates.BARS, rolling_updates.measure, rounds=1),
)
