"""Where conversations lie: pools, what keeps them small, and the volumes below them."""

from typing import Final

from grafana_foundation_sdk.models import dashboard as models
from grafana_foundation_sdk.models import units

from dashboards.grafana.frame import Section, framed
from dashboards.grafana.panels import Column, Line, Panel, figure, graph, listing
from dashboards.grafana.queries import highest, or_zero, picked, rate, share, total

_BY: Final = "organization"
_NAME: Final = "{{organization}}"
_NEARLY_FULL: Final = (0.8, 0.95)


def dashboard() -> models.Dashboard:
    """Return the dashboard of memory that lasts."""
    return framed(
        "memory",
        "Memory",
        "Pools of conversations against their bounds, what keeps them small, and the volumes "
        "that they lie on.",
        (
            Section("Pools", [*_pools(), *_by_organization()]),
            Section("What keeps conversations small", _keeping_small()),
            Section("Volumes", _volumes()),
        ),
    )


def _pressure() -> str:
    # Replicas on one store tell of the same pool, so it counts once.
    used = highest(picked("bulkhead_pool_used_bytes"), _BY)
    return share(used, highest(picked("bulkhead_pool_capacity_bytes"), _BY))


def _pools() -> list[Panel]:
    not_ready = picked(
        "bulkhead_resource_condition", 'kind="MemoryPool"', 'type="Ready"', 'status!="True"'
    )
    return [
        figure(
            "Fullest pool",
            "Share of the fullest pool that is in use. A full pool makes room by its overflow "
            "policy or refuses new sessions: raise `spec.maxMemoryMB` of the MemoryPool.",
            units.PercentUnit,
            f"max({_pressure()})",
            limits=_NEARLY_FULL,
            width=8,
        ),
        figure(
            "Sessions",
            "Sessions in all stores, also those that nobody uses any more.",
            units.Short,
            total(highest(picked("bulkhead_sessions"), _BY)),
            width=8,
        ),
        figure(
            "Pools that are not ready",
            "Pools whose Ready condition does not hold: `kubectl describe mempool -A` says why.",
            units.Short,
            or_zero(f"count({not_ready})"),
            limits=(1,),
            width=8,
        ),
    ]


def _by_organization() -> list[Panel]:
    used, capacity = picked("bulkhead_pool_used_bytes"), picked("bulkhead_pool_capacity_bytes")
    archived = picked("bulkhead_pool_archived_bytes")
    return [
        listing(
            "Pools by pressure",
            "Share of each pool that is in use, fullest first. Shorten retention or raise the "
            "pool's bound before it is full.",
            Column("used", _pressure(), units.PercentUnit, _NEARLY_FULL),
            Column("bytes", highest(used, _BY), units.BytesIEC),
            Column("archived", highest(archived, _BY), units.BytesIEC),
            Column("bound", highest(capacity, _BY), units.BytesIEC),
            Column("sessions", highest(picked("bulkhead_sessions"), _BY)),
            most=20,
            named=(_BY,),
            sort="used",
        ),
        graph(
            "Pressure",
            "Share of each pool that is in use. A straight line upwards says when it is full.",
            units.PercentUnit,
            Line(_pressure(), _NAME),
            limits=_NEARLY_FULL,
        ),
        graph(
            "Sessions by organization",
            "Sessions in the store. A fall is retention at work, or somebody who deletes.",
            units.Short,
            Line(highest(picked("bulkhead_sessions"), _BY), _NAME),
        ),
    ]


def _keeping_small() -> list[Panel]:
    return [
        graph(
            "Compactions",
            "Summaries of older turns, by who wrote them. Many fallbacks mean that the model "
            "which should write them fails: see Models and cost.",
            units.OpsPerSecond,
            Line(
                total(rate(picked("bulkhead_compactions_total")), _BY, "by"),
                "{{organization}} by {{by}}",
            ),
        ),
        graph(
            "Cleanups",
            "Turns whose oldest messages were left out because they did not fit. Many of them: "
            "compact earlier, or choose a model with a larger window.",
            units.OpsPerSecond,
            Line(total(rate(picked("bulkhead_context_cleanups_total")), _BY), _NAME),
        ),
    ]


def _volumes() -> list[Panel]:
    used = highest(picked("bulkhead_storage_used_bytes"), _BY)
    volume = highest(picked("bulkhead_storage_capacity_bytes"), _BY)
    reserved = highest(picked("bulkhead_organization_reserved", 'resource="storage_bytes"'), _BY)
    return [
        graph(
            "Volumes",
            "Share of each volume that is in use. Above 80 % raise `spec.storage.sizeMB`; a "
            "full one refuses writes. Organizations on PostgreSQL have none.",
            units.PercentUnit,
            Line(share(used, volume), _NAME),
            limits=(0.8, 0.9),
        ),
        listing(
            "Volumes by use",
            "Bytes in use on each volume, what the volume has, and what was asked for.",
            Column("used", used, units.BytesIEC),
            Column("volume", volume, units.BytesIEC),
            Column("asked for", reserved, units.BytesIEC),
            named=(_BY,),
            sort="used",
        ),
    ]
