"""Tells when mounted files change, by inotify: nothing runs while nothing changes.

The kubelet writes a new folder and renames a link `..data` onto it, which appears as one event in
the mounted folder. A volume's folder outlives its content, so it is enough to watch the folders.
"""

import asyncio
from collections.abc import Callable, Iterable
from pathlib import Path

from asyncinotify import Inotify, Mask

_CHANGES = Mask.CREATE | Mask.CLOSE_WRITE | Mask.MOVED_TO | Mask.DELETE
_SETTLE_SECONDS = 0.002
"""Files of one switch arrive within this; they are read once."""


async def watch(directories: Callable[[], Iterable[Path]], changed: Callable[[], None]) -> None:
    """Call `changed` after every change in the directories that exist, until cancelled.

    `directories` is asked again after each change, so that folders that appear are watched too.
    """
    with Inotify(sync_timeout=0) as inotify:
        _add_watches(inotify, directories())
        changed()
        while True:
            await inotify.get()
            await asyncio.sleep(_SETTLE_SECONDS)
            while inotify.sync_get() is not None:
                continue
            _add_watches(inotify, directories())
            changed()


def _add_watches(inotify: Inotify, directories: Iterable[Path]) -> None:
    for directory in directories:
        if directory.is_dir():
            inotify.add_watch(directory, _CHANGES)
