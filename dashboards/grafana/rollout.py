"""Versions of packages side by side, with what happened to them as marks in time."""

from typing import Final

from grafana_foundation_sdk.models import dashboard as models
from grafana_foundation_sdk.models import units

from dashboards.grafana.frame import Mark, Section, choice, framed
from dashboards.grafana.panels import Column, Line, Panel, figure, graph, listing
from dashboards.grafana.queries import (
    FAILED,
    highest,
    operators,
    or_zero,
    picked,
    quantile,
    rate,
    share,
    total,
)

_PACKAGE: Final = 'package=~"$package"'
_NAMED: Final = 'name=~"$package"'
_VERSION: Final = ("organization", "package", "version")
_STEP_SECONDS: Final = 60
"""Marks are looked for once in this time."""
_LEGEND: Final = "{{organization}} {{package}} {{version}}"


def dashboard() -> models.Dashboard:
    """Return the dashboard to look at while a version of a package comes into service."""
    weights = picked("bulkhead_package_version_weight", _PACKAGE)
    now = highest(weights, *_VERSION)
    restored = picked("bulkhead_rollout_phase", _NAMED, 'phase=~"Restore|Restored"')
    return framed(
        "package-rollout",
        "Package rollout",
        "Versions of packages side by side: shares, errors, executions and where each rollout "
        "stands. Marks in time are changed shares, versions taken back and replicas that began.",
        (
            Section("Rollouts", _rollouts()),
            Section("Versions side by side", _versions()),
            Section("Operator upgrades", _upgrades()),
        ),
        variables=(
            choice(
                "package",
                "Package",
                "label_values("
                'bulkhead_package_version_weight{organization=~"$organization"}, package)',
                "Packages of the organizations that are chosen.",
            ),
        ),
        marks=(
            Mark(
                "Share changed",
                # A version that comes with its whole share has no other before.
                f"{now} unless ({now} == {highest(f'{weights} offset 1m', *_VERSION)})",
                _LEGEND,
                "blue",
            ),
            Mark("Taken back", total(restored, "organization", "name"), "{{name}}", "red"),
            Mark(
                "Replica began",
                # A new pod is a new series, so that nothing in it ever changes.
                f"{picked('process_start_time_seconds')} > time() - {_STEP_SECONDS}",
                "{{organization}} {{instance}}",
                "orange",
            ),
        ),
    )


def _rollouts() -> list[Panel]:
    phases = picked("bulkhead_rollout_phase", _NAMED)
    of_packages = (_NAMED, 'kind="AgentPackage"')
    not_ready = picked(
        "bulkhead_resource_condition", *of_packages, 'type="Ready"', 'status!="True"'
    )
    stalled = picked("bulkhead_resource_condition", *of_packages, 'type="Stalled"', 'status="True"')
    under_way = picked("bulkhead_rollout_phase", _NAMED, 'phase!~"Complete|Restored"')
    taken_back = picked("bulkhead_rollout_phase", _NAMED, 'phase=~"Restore|Restored"')
    return [
        figure(
            "Under way",
            "Rollouts that load, are checked or shift. One that stays for long waits for an "
            "approval, or for measurements that no traffic gives.",
            units.Short,
            or_zero(f"count({under_way})"),
        ),
        figure(
            "Taken back",
            "Packages whose last rollout failed a check or a gate. The former version serves; "
            "`kubectl describe agpkg NAME` names the gate.",
            units.Short,
            or_zero(f"count({taken_back})"),
            limits=(1,),
        ),
        figure(
            "Need a person",
            "Packages that are Stalled: the message of the condition says what to change.",
            units.Short,
            or_zero(f"count({stalled})"),
            limits=(1,),
        ),
        figure(
            "Ended in the last day",
            "Rollouts that ended in the last 24 hours, by outcome. More taken back than "
            "completed: look at what changed with those versions.",
            units.Short,
            total(f"increase({operators('bulkhead_rollouts_total')}[1d])", "outcome"),
            legend="{{outcome}}",
            width=12,
        ),
        listing(
            "Phases",
            "Where each package's present or last rollout stands.",
            Column("rollouts", total(phases, "organization", "name", "phase")),
            named=("organization", "name", "phase"),
            sort="phase",
        ),
        listing(
            "Packages that are not ready",
            "Empty when all is well. `kubectl -n NAMESPACE describe agpkg NAME` gives the reason.",
            Column("not ready", total(not_ready, "organization", "name")),
            named=("organization", "name"),
        ),
    ]


def _versions() -> list[Panel]:
    ended = total(rate(picked("bulkhead_executions_total", _PACKAGE)), *_VERSION)
    failed = total(rate(picked("bulkhead_executions_total", _PACKAGE, FAILED)), *_VERSION)
    return [
        graph(
            "Share of new sessions",
            "Percent of new sessions that begin with each version. Sessions stay with the "
            "version they began with, so executions follow later.",
            units.Percent,
            Line(highest(picked("bulkhead_package_version_weight", _PACKAGE), *_VERSION), _LEGEND),
        ),
        graph(
            "Executions by version",
            "Executions that end. Gates need enough of them before they can judge.",
            units.OpsPerSecond,
            Line(ended, _LEGEND),
        ),
        graph(
            "Failing by version",
            "Share of executions that failed, versions side by side. The new one far above the "
            "old one should be taken back: a gate does it, or `bulkhead.dev/rollback-to`.",
            units.PercentUnit,
            Line(share(failed, ended), _LEGEND),
            limits=(0.01, 0.05),
        ),
        graph(
            "Duration of executions by agent, p95",
            "Time that executions take while shares change. A rise with the share of the new "
            "version is its doing.",
            units.Seconds,
            Line(
                quantile(
                    0.95,
                    picked("bulkhead_execution_duration_seconds_bucket"),
                    "organization",
                    "agent",
                ),
                "{{organization}} {{agent}}",
            ),
        ),
    ]


def _upgrades() -> list[Panel]:
    return [
        graph(
            "Organizations in an upgrade of the operator",
            "Organizations whose pods an upgraded operator restarts, by where they stand. Failed "
            "ones halt the rest: mend them, the others follow.",
            units.Short,
            Line(
                total(operators("bulkhead_upgrade_organizations"), "phase"),
                "{{phase}}",
            ),
            stacked=True,
        ),
        graph(
            "Releases of the runtime",
            "Replicas by the release that runs. Two for long mean an upgrade that halted.",
            units.Short,
            Line(f"count by (version) ({picked('bulkhead_build_info')})", "{{version}}"),
            stacked=True,
        ),
    ]
