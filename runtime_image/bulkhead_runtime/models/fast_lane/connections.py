"""The one HTTP session over which every OpenAI-compatible provider is reached."""

import aiohttp

MAX_CONNECTIONS = 1_000
"""Over all providers."""

MAX_CONNECTIONS_PER_PROVIDER = 256
"""One provider that hangs cannot take the connections of the others."""

IDLE_SECONDS = 30
READ_BUFFER_BYTES = 256 * 1024


class Connections:
    """Opens the shared session with the first call; TLS trusts what the system trusts."""

    def __init__(self) -> None:
        self._session: aiohttp.ClientSession | None = None

    def session(self) -> aiohttp.ClientSession:
        """Return the session; must be called inside the event loop that uses it."""
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(
                    limit=MAX_CONNECTIONS,
                    limit_per_host=MAX_CONNECTIONS_PER_PROVIDER,
                    keepalive_timeout=IDLE_SECONDS,
                ),
                # A provider's cookies must not travel from one caller's request to another's.
                cookie_jar=aiohttp.DummyCookieJar(),
                # Proxies and .netrc of the environment are nobody's decision here.
                trust_env=False,
                read_bufsize=READ_BUFFER_BYTES,
                skip_auto_headers=("User-Agent",),
            )
        return self._session

    async def aclose(self) -> None:
        """Close every connection; calls under way end with an error."""
        if self._session is not None:
            await self._session.close()
