"""Which versions are at work, and were when a process died: kept where that outlives the process.

A process that is killed by what it carries out can tell nobody. What runs is therefore counted in
a mapped file of the pod's scratch volume, which its next container finds: a store of four bytes
when an execution begins and when it ends, no write to any disk that anybody waits for.
"""

import fcntl
import logging
import mmap
import os
import struct
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

from bulkhead_api.runtime_state import Measurement
from bulkhead_runtime.telemetry.measurements import VersionKey

log = logging.getLogger(__name__)

MAX_VERSIONS: Final = 64
"""Versions that are followed at once; further ones are served and not counted."""

_FILE: Final = "bulkhead-flights"
_SLOT: Final = struct.Struct("<128sII")
"""Package and version, how many executions run, how many processes ended under them."""

_RUNNING_OFFSET: Final = 128
_RUNNING: Final = struct.Struct("<I")


class Flights:
    """Counts what runs, per version and agent; belongs to the event loop's thread.

    Where the folder cannot be used, or another process uses it, no crashes are counted.
    """

    def __init__(self, directory: Path) -> None:
        self._path = directory / _FILE
        self._running: dict[VersionKey, int] = {}
        self._agents: dict[str, int] = {}
        self._offsets: dict[VersionKey, int] = {}
        self._crashes: dict[VersionKey, int] = {}
        self._map: mmap.mmap | None = None
        self._descriptor = -1
        try:
            self._open()
        except OSError as error:
            log.warning("Crashes are not counted", extra={"reason": error.strerror})

    def keep(self, loaded: Iterable[VersionKey]) -> None:
        """Count for these versions from now on, and forget all others."""
        versions = list(loaded)[:MAX_VERSIONS]
        self._running = {key: self._running.get(key, 0) for key in versions}
        self._crashes = {key: self._crashes.get(key, 0) for key in versions}
        self._offsets = {key: index * _SLOT.size for index, key in enumerate(versions)}
        if self._map is None:
            return
        self._map[:] = bytes(len(self._map))
        for key, offset in self._offsets.items():
            name = "\0".join(key).encode()
            _SLOT.pack_into(self._map, offset, name, self._running[key], self._crashes[key])

    @property
    def agents(self) -> int:
        """Return of how many agents an execution runs."""
        return len(self._agents)

    def began(self, version: VersionKey, agent: str) -> None:
        """Note that an execution of a version's agent begins."""
        self._agents[agent] = self._agents.get(agent, 0) + 1
        self._count(version, 1)

    def ended(self, version: VersionKey, agent: str) -> None:
        """Note that one has ended, whatever came of it."""
        running = self._agents.pop(agent) - 1
        if running:
            self._agents[agent] = running
        self._count(version, -1)

    def added_to(self, measurements: Iterable[Measurement]) -> tuple[Measurement, ...]:
        """Return measurements with the processes that ended while the version was at work."""
        return tuple(
            one.model_copy(update={"crashes": self._crashes.get((one.package, one.version), 0)})
            for one in measurements
        )

    def close(self) -> None:
        """End without leaving anything behind: nothing runs any more."""
        if self._map is not None:
            self._map.close()
            self._map = None
            self._path.unlink(missing_ok=True)
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def _count(self, version: VersionKey, change: int) -> None:
        offset = self._offsets.get(version)
        if offset is None:
            return
        running = self._running[version] = max(0, self._running[version] + change)
        if self._map is not None:
            _RUNNING.pack_into(self._map, offset + _RUNNING_OFFSET, running)

    def _open(self) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.ftruncate(self._descriptor, MAX_VERSIONS * _SLOT.size)
        self._map = mmap.mmap(self._descriptor, MAX_VERSIONS * _SLOT.size)
        self._crashes = dict(_left_behind(self._map))


def _left_behind(content: mmap.mmap) -> Iterator[tuple[VersionKey, int]]:
    """Yield how many processes ended under each version: the last one where something ran."""
    for raw, running, crashes in _SLOT.iter_unpack(content):
        package, separator, version = raw.rstrip(b"\0").decode(errors="replace").partition("\0")
        if separator:
            yield (package, version), crashes + (running > 0)
