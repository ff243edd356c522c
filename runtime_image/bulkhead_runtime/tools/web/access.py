"""How tools reach others over HTTP.

Imported with the first tool that does, because its library is nothing that others should hold.
"""

from dataclasses import dataclass

from bulkhead_api.names import TOOLS_FOLDER
from bulkhead_api.v1alpha1.tools import Tools
from bulkhead_runtime.policy.patterns import Patterns
from bulkhead_runtime.tools.credentials import Credentials
from bulkhead_runtime.tools.surroundings import Surroundings
from bulkhead_runtime.tools.web.client import GuardedClient
from bulkhead_runtime.tools.web.lookups import Lookups


@dataclass(frozen=True, slots=True)
class Way:
    """How a host is reached; `private` when the platform has opened it as a private one."""

    client: GuardedClient
    private: bool


class HttpAccess:
    """Two ways out, to the public internet and to private networks too, and what is shown there."""

    def __init__(self, surroundings: Surroundings) -> None:
        resolver = surroundings.resolver or Lookups()
        self.public = GuardedClient(surroundings.public, resolver)
        self.private = GuardedClient(surroundings.private, resolver)
        self.credentials = Credentials(surroundings.secrets / TOOLS_FOLDER)

    def way_to(self, host: str, settings: Tools) -> Way:
        """Return how a host that a package names is reached; `host` is in lower case."""
        private = host in Patterns(map(str.lower, settings.private_hosts))
        return Way(self.private if private else self.public, private)

    async def aclose(self) -> None:
        """Close every connection."""
        await self.public.aclose()
        await self.private.aclose()
