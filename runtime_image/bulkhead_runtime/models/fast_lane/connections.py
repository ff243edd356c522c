"""What providers are reached over: pools for their streams, one HTTP session for the rest."""

from weakref import WeakValueDictionary

import aiohttp
from yarl import URL

from bulkhead_runtime.models.fast_lane.pool import MAX_CONNECTIONS as MAX_CONNECTIONS_PER_PROVIDER
from bulkhead_runtime.models.fast_lane.pool import Pool

MAX_CONNECTIONS = 4_000
"""Over all providers."""

IDLE_SECONDS = 30
READ_BUFFER_BYTES = 256 * 1024


class Connections:
    """Opens the shared session with the first call; TLS trusts what the system trusts."""

    def __init__(self) -> None:
        self._kept: aiohttp.ClientSession | None = None
        self._new: aiohttp.ClientSession | None = None
        self._pools: WeakValueDictionary[tuple[str, str | None, int | None], Pool] = (
            WeakValueDictionary()
        )

    def pool(self, url: URL) -> Pool:
        """Return the pool of a URL's address, which all who call it share."""
        address = (url.scheme, url.raw_host, url.port)
        pool = self._pools.get(address)
        if pool is None:
            pool = self._pools[address] = Pool(url)
        return pool

    def session(self) -> aiohttp.ClientSession:
        """Return the session; must be called inside the event loop that uses it."""
        if self._kept is None:
            self._kept = _session(keep=True)
        return self._kept

    def new_session(self) -> aiohttp.ClientSession:
        """Return a session that opens a connection for every call.

        A provider closes connections that idle; many of them at once can be closed and not yet
        known to be, so that a second call over the shared session would meet the next of them.
        """
        if self._new is None:
            self._new = _session(keep=False)
        return self._new

    async def aclose(self) -> None:
        """Close every connection; calls under way end with an error."""
        for session in (self._kept, self._new):
            if session is not None:
                await session.close()
        for pool in tuple(self._pools.values()):
            pool.close()


def _session(*, keep: bool) -> aiohttp.ClientSession:
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(
            limit=MAX_CONNECTIONS,
            limit_per_host=MAX_CONNECTIONS_PER_PROVIDER,
            keepalive_timeout=IDLE_SECONDS if keep else None,
            force_close=not keep,
        ),
        # A provider's cookies must not travel from one caller's request to another's.
        cookie_jar=aiohttp.DummyCookieJar(),
        # Proxies and .netrc of the environment are nobody's decision here.
        trust_env=False,
        read_bufsize=READ_BUFFER_BYTES,
        skip_auto_headers=("User-Agent",),
    )
