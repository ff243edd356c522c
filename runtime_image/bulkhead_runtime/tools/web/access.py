"""How tools reach others over HTTP.

Imported with the first tool that does, because its library is nothing that others should hold.
"""

from bulkhead_api.names import TOOLS_FOLDER
from bulkhead_runtime.tools.credentials import Credentials
from bulkhead_runtime.tools.surroundings import Surroundings
from bulkhead_runtime.tools.web.client import GuardedClient


class HttpAccess:
    """Two ways out, to the public internet and to private networks too, and what is shown there."""

    def __init__(self, surroundings: Surroundings) -> None:
        self.public = GuardedClient(surroundings.public, surroundings.resolver)
        self.private = GuardedClient(surroundings.private, surroundings.resolver)
        self.credentials = Credentials(surroundings.secrets / TOOLS_FOLDER)

    async def aclose(self) -> None:
        """Close every connection."""
        await self.public.aclose()
        await self.private.aclose()
