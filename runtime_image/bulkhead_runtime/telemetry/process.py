"""What this process takes of its machine, under the names that every client of Prometheus uses."""

import os
import resource
import time
from functools import cache
from pathlib import Path
from typing import Final

from msgspec import Struct

_PROCESS: Final = Path("/proc/self")
_PAGE: Final = resource.getpagesize()
_TICKS: Final = os.sysconf("SC_CLK_TCK")
_START_FIELD: Final = 19
"""Of the fields after the command's name in /proc/self/stat, when the process began."""


class ProcessFigures(Struct, frozen=True):
    """Memory in bytes, times in seconds."""

    cpu_seconds: float
    resident_bytes: int
    virtual_bytes: int
    open_files: int
    max_files: int
    started_at: float


def process_figures() -> ProcessFigures | None:
    """Return the figures of this moment, None where the kernel does not tell them."""
    try:
        return _figures()
    except OSError:
        return None


def _figures() -> ProcessFigures:
    virtual, resident = map(int, (_PROCESS / "statm").read_text().split()[:2])
    return ProcessFigures(
        cpu_seconds=time.process_time(),
        resident_bytes=resident * _PAGE,
        virtual_bytes=virtual * _PAGE,
        open_files=sum(1 for _ in (_PROCESS / "fd").iterdir()),
        max_files=resource.getrlimit(resource.RLIMIT_NOFILE)[0],
        started_at=_started_at(),
    )


@cache
def _started_at() -> float:
    fields = (_PROCESS / "stat").read_text().rpartition(")")[2].split()
    running = time.clock_gettime(time.CLOCK_BOOTTIME) - int(fields[_START_FIELD]) / _TICKS
    return round(time.time() - running, 2)
