"""Holds the configuration that is followed and tells those who wait for another.

Switching is one assignment: a request that has begun keeps the snapshot that it read.
"""

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path

from bulkhead_api.runtime_state import Refusal
from bulkhead_runtime import errors
from bulkhead_runtime.config import loader
from bulkhead_runtime.config.loader import AwaitedError, NoSources, Sources
from bulkhead_runtime.config.snapshot import Configuration

log = logging.getLogger(__name__)

Listener = Callable[[Configuration], None]


class ConfigurationHolder:
    """Follows one mounted folder; belongs to the event loop's thread."""

    def __init__(self, directory: Path, organization: str) -> None:
        self.sources: Sources = NoSources()
        self.current: Configuration | None = None
        self.refusal: Refusal | None = None
        self._refused_hash = ""
        self._directory = directory
        self._organization = organization
        self._listeners: list[Listener] = []
        self._changed = asyncio.Event()

    def require(self) -> Configuration:
        """Return the configuration that is followed; raise a 503 `Problem` before the first."""
        if self.current is None:
            raise errors.not_configured()
        return self.current

    def subscribe(self, listener: Listener) -> None:
        """Call `listener` with every configuration that is followed from now on."""
        self._listeners.append(listener)

    def reload(self) -> None:
        """Follow what lies in the folder now; keep the former when it cannot be followed."""
        try:
            configuration = loader.load(
                self._directory, self._organization, self.current, self.sources
            )
        except AwaitedError:
            return
        except loader.Refused as refusal:
            self._refuse(refusal)
        else:
            self._follow(configuration)

    async def wait_for(self, wanted_hash: str, seconds: float) -> None:
        """Return once the configuration of that hash is followed or refused, or time is over."""
        try:
            async with asyncio.timeout(seconds):
                while not self._settled(wanted_hash):
                    await self._changed.wait()
        except TimeoutError:
            return

    def _settled(self, wanted_hash: str) -> bool:
        followed = self.current.hash if self.current else ""
        return wanted_hash in {followed, self._refused_hash}

    def _refuse(self, refusal: loader.Refused) -> None:
        report = Refusal(what=refusal.what, message=refusal.message)
        if report != self.refusal:
            log.warning(
                "Configuration refused", extra={"what": report.what, "reason": report.message}
            )
        self.refusal = report
        self._refused_hash = refusal.configuration_hash
        self._announce()

    def _follow(self, configuration: Configuration) -> None:
        self.refusal = None
        self._refused_hash = ""
        if self.current is not None and _same(self.current, configuration):
            return
        self.current = configuration
        for listener in self._listeners:
            listener(configuration)
        log.info(
            "Configuration followed",
            extra={"hash": configuration.hash, "versions": len(configuration.versions)},
        )
        self._announce()

    def _announce(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()


def _same(one: Configuration, other: Configuration) -> bool:
    """Tell whether nothing changes: a version that was set aside may have come meanwhile."""
    return one.hash == other.hash and one.set_aside == other.set_aside
