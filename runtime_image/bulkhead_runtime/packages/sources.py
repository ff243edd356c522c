"""Contents of versions that lie elsewhere: fetched in the background, once for each version.

What could not be fetched is told, and tried again after growing pauses or when a Secret changes: a
registry that was away for a while needs nobody to act.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import Final, NamedTuple

from bulkhead_api import package_manifest
from bulkhead_api.package_manifest import ManifestError, PackageManifest
from bulkhead_api.runtime_config import PackageDocument
from bulkhead_api.v1alpha1.package_source import OciSource
from bulkhead_api.v1alpha1.tools import Tools
from bulkhead_runtime.config.loader import UnavailableError
from bulkhead_runtime.packages.errors import SourceError

FIRST_RETRY_SECONDS: Final = 5.0
LONGEST_RETRY_SECONDS: Final = 300.0
MAX_KEPT: Final = 64
_PAUSES_SECONDS: Final = (0.2, 1.0)

_Key = tuple[str, str, str, tuple[str, ...]]
"""Package, version, checksum, and the hosts that were opened when it was asked for."""

Fetch = Callable[[OciSource, Tools], Awaitable[bytes]]
"""Returns the manifest of a version; raises `SourceError`."""


class _Failure(NamedTuple):
    message: str
    times: int


def retry_seconds(times: int) -> float:
    """Return the pause after a number of failures; no two versions come back at once."""
    longest: float = min(FIRST_RETRY_SECONDS * 2 ** min(times - 1, 10), LONGEST_RETRY_SECONDS)
    return longest * random.uniform(0.75, 1)  # noqa: S311 (no secret)


class PackageSources:
    """Implements `config.loader.Sources`; belongs to the event loop's thread.

    `changed` is called when something that was asked for has come, failed, or may be tried again.
    """

    def __init__(self, fetch: Fetch, changed: Callable[[], None]) -> None:
        self._fetch = fetch
        self._changed = changed
        self._fetching: dict[_Key, asyncio.Task[None]] = {}
        self._found: dict[_Key, PackageManifest] = {}
        self._failed: dict[_Key, _Failure] = {}
        self._due: set[_Key] = set()
        self._timers: set[asyncio.TimerHandle] = set()

    def find(self, document: PackageDocument, settings: Tools) -> PackageManifest | None:
        """Return a version's content, None while it is fetched for the first time.

        Raises `UnavailableError` where it could not be fetched.
        """
        assert document.oci is not None
        key = (
            document.package,
            document.version,
            document.checksum,
            settings.private_hosts,
        )
        found = self._found.get(key)
        if found is not None:
            return found
        if key not in self._fetching and (key not in self._failed or key in self._due):
            self._due.discard(key)
            self._fetching[key] = asyncio.create_task(self._bring(key, document.oci, settings))
        if key in self._failed:
            raise UnavailableError(self._failed[key].message)
        return None

    def retry(self) -> None:
        """Try again what failed, as soon as it is asked for."""
        self._due.update(self._failed)

    async def aclose(self) -> None:
        """Give up what is under way."""
        for timer in self._timers:
            timer.cancel()
        tasks = tuple(self._fetching.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _bring(self, key: _Key, source: OciSource, settings: Tools) -> None:
        package, version, *_ = key
        try:
            raw = await self._fetched(source, settings)
            manifest = package_manifest.read(raw, package=package, version=version)
        except (SourceError, ManifestError) as error:
            times = self._failed[key].times + 1 if key in self._failed else 1
            message = f"{source.reference}: {error}; it is fetched again after a while"
            self._failed[key] = _Failure(message, times)
            self._try_later(key, times)
        else:
            self._failed.pop(key, None)
            self._found[key] = manifest
            self._forget_oldest()
        finally:
            del self._fetching[key]
        self._changed()

    async def _fetched(self, source: OciSource, settings: Tools) -> bytes:
        """Fetch, again at once where a registry stumbles."""
        for pause in _PAUSES_SECONDS:
            try:
                return await self._fetch(source, settings)
            except SourceError:
                await asyncio.sleep(pause)
        return await self._fetch(source, settings)

    def _forget_oldest(self) -> None:
        """Keep what the present configuration may need; loaded versions need nothing from here."""
        while len(self._found) > MAX_KEPT:
            del self._found[next(iter(self._found))]
        while len(self._failed) > MAX_KEPT:
            del self._failed[next(iter(self._failed))]

    def _try_later(self, key: _Key, times: int) -> None:
        def due() -> None:
            self._timers.discard(timer)
            if key in self._failed:
                self._due.add(key)
                self._changed()

        timer = asyncio.get_running_loop().call_later(retry_seconds(times), due)
        self._timers.add(timer)
