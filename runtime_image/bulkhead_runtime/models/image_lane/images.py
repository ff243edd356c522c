"""The images of all versions; nothing is imported or opened before one is called."""

from typing import TYPE_CHECKING

from bulkhead_runtime.models.image_lane.wire import About

if TYPE_CHECKING:
    from bulkhead_runtime.models.fast_lane.connections import Connections
    from bulkhead_runtime.models.image_lane.client import ImageClient


class Images:
    """Makes clients of images over connections of their own."""

    def __init__(self) -> None:
        self._connections: Connections | None = None

    def client(self, endpoint: str, about: About) -> "ImageClient":
        """Return the client for one call of the image that answers at `endpoint`."""
        from bulkhead_runtime.models.fast_lane.connections import (  # noqa: PLC0415 (an HTTP client)
            Connections,
        )
        from bulkhead_runtime.models.image_lane.client import (  # noqa: PLC0415 (an HTTP client)
            ImageClient,
        )

        if self._connections is None:
            self._connections = Connections()
        return ImageClient(endpoint, about, self._connections)

    async def aclose(self) -> None:
        """Close every connection; calls under way end with an error."""
        if self._connections is not None:
            await self._connections.aclose()
