"""Metrics of what is true at a moment, looked up when somebody reads and not when it changes."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from msgspec import Struct

from bulkhead_runtime.telemetry.instruments import Gauge, Instruments, Labels
from bulkhead_runtime.telemetry.process import ProcessFigures

_NOTHING: Final[Mapping[Labels, float]] = MappingProxyType({})

_GAUGES: Final = {
    "agents": ("bulkhead_agents", "Agents that are loaded."),
    "agents_active": ("bulkhead_agents_active", "Agents of which an execution runs."),
    "active": ("bulkhead_executions_active", "Executions that run."),
    "active_limit": ("bulkhead_executions_limit", "Executions that may run at once."),
    "queued": ("bulkhead_executions_queued", "Executions that wait for a place."),
    "queued_limit": ("bulkhead_queue_limit", "Executions that may wait for a place."),
    "oldest_queued_seconds": (
        "bulkhead_queue_oldest_age_seconds",
        "How long the execution waits that waits longest, 0 where none does.",
    ),
    "sessions": ("bulkhead_sessions", "Sessions in the store."),
    "pool_bytes": ("bulkhead_pool_used_bytes", "Bytes that conversations take."),
    "pool_archived_bytes": (
        "bulkhead_pool_archived_bytes",
        "Bytes of archived conversations, which give way when others need their room.",
    ),
    "pool_capacity_bytes": (
        "bulkhead_pool_capacity_bytes",
        "Bytes that conversations may take (spec.maxMemoryMB of the MemoryPool).",
    ),
    "storage_used_bytes": (
        "bulkhead_storage_used_bytes",
        "Bytes in use on the volume of the embedded store.",
    ),
    "storage_capacity_bytes": (
        "bulkhead_storage_capacity_bytes",
        "Bytes that the volume of the embedded store has.",
    ),
}
_OF_THE_PROCESS: Final = {
    "resident_bytes": ("process_resident_memory_bytes", "Resident memory size in bytes."),
    "virtual_bytes": ("process_virtual_memory_bytes", "Virtual memory size in bytes."),
    "open_files": ("process_open_fds", "Number of open file descriptors."),
    "max_files": ("process_max_fds", "Maximum number of open file descriptors."),
    "started_at": (
        "process_start_time_seconds",
        "Start time of the process since unix epoch in seconds.",
    ),
}


class Standing(Struct, frozen=True):
    """What is true now; what is not known is None and shown by no series.

    `versions` maps (package, version) to its share of new sessions in percent, `keys` the names of
    API keys to when they expire in Unix seconds.
    """

    agents: int | None = None
    agents_active: int | None = None
    active: int | None = None
    active_limit: int | None = None
    queued: int | None = None
    queued_limit: int | None = None
    oldest_queued_seconds: float | None = None
    sessions: int | None = None
    pool_bytes: int | None = None
    pool_archived_bytes: int | None = None
    pool_capacity_bytes: int | None = None
    storage_used_bytes: int | None = None
    storage_capacity_bytes: int | None = None
    process: ProcessFigures | None = None
    runtime_version: str = ""
    versions: Mapping[Labels, float] = _NOTHING
    keys: Mapping[Labels, float] = _NOTHING


class StandingMetrics:
    """Shows what is true."""

    def __init__(self, instruments: Instruments) -> None:
        self._gauges = _gauges(instruments, _GAUGES)
        self._process = _gauges(instruments, _OF_THE_PROCESS)
        self._build = instruments.gauge(
            "bulkhead_build_info", "1; the label names the release that runs.", ("version",)
        )
        self._weights = instruments.gauge(
            "bulkhead_package_version_weight",
            "Share of new sessions in percent, per loaded package version.",
            ("package", "version"),
        )
        self._keys = instruments.gauge(
            "bulkhead_api_key_expires_timestamp_seconds",
            "When API keys expire, in Unix seconds; keys without an end are not there.",
            ("key",),
        )
        self._cpu = instruments.counter(
            "process_cpu_seconds_total", "Total user and system CPU time spent in seconds."
        )

    def show(self, standing: Standing) -> None:
        """Show this from now on."""
        _show(self._gauges, standing)
        self._build.show({(standing.runtime_version,): 1})
        self._weights.show(standing.versions)
        self._keys.show(standing.keys)
        if standing.process is not None:
            _show(self._process, standing.process)
            self._cpu.show({(): standing.process.cpu_seconds})


def _gauges(instruments: Instruments, described: Mapping[str, tuple[str, str]]) -> dict[str, Gauge]:
    return {field: instruments.gauge(name, text) for field, (name, text) in described.items()}


def _show(gauges: Mapping[str, Gauge], figures: Struct) -> None:
    for field, gauge in gauges.items():
        value = getattr(figures, field)
        gauge.show(_NOTHING if value is None else {(): value})
