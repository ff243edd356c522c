"""`python -m bulkhead_operator.release`: what `helm uninstall` runs once the operator is gone.

Nobody would ever take the operator's finalizer off what is left, and a later delete, of an
organization or of the definitions, would wait for ever. Children are not touched: organizations
that were left keep running.
"""

import sys
from collections.abc import AsyncIterator
from typing import Final

import structlog
import uvloop

from bulkhead_api.names import API_VERSION, FINALIZER
from bulkhead_operator import logs
from bulkhead_operator.cluster.client import JSON_PATCH, METADATA_LIST, ApiClient, unfenced
from bulkhead_operator.cluster.credentials import CredentialsError, load
from bulkhead_operator.cluster.kinds import KINDS, Kind, path_of
from bulkhead_operator.cluster.port import Manifest
from bulkhead_operator.errors import ClusterError, Conflict, Gone, Refused

ATTEMPTS: Final = 5
OWN_KINDS: Final = tuple(kind for kind in KINDS if kind.api_version == API_VERSION)

_log = structlog.get_logger(__name__)


async def release_all(client: ApiClient) -> int:
    """Take the finalizer off every object of our kinds; returns off how many it was taken."""
    released = 0
    for kind in OWN_KINDS:
        async for found in _objects(client, kind):
            released += await _release(client, kind, found)
    return released


async def _objects(client: ApiClient, kind: Kind) -> AsyncIterator[Manifest]:
    query = {"limit": str(kind.page)}
    while True:
        try:
            page = await client.read(kind.collection(), query, accept=METADATA_LIST)
        except Gone:
            # The definition itself is gone, and with it every object.
            return
        for found in page.get("items") or ():
            yield found
        following = page["metadata"].get("continue")
        if not following:
            return
        query = {**query, "continue": following}


async def _release(client: ApiClient, kind: Kind, found: Manifest) -> bool:
    path = path_of(kind.key(found))
    for attempt in range(1, ATTEMPTS + 1):
        finalizers = found["metadata"].get("finalizers") or []
        if FINALIZER not in finalizers:
            return False
        place = f"/metadata/finalizers/{finalizers.index(FINALIZER)}"
        # Only if nobody changed the list since it was read.
        steps = [
            {"op": "test", "path": place, "value": FINALIZER},
            {"op": "remove", "path": place},
        ]
        try:
            await client.write("PATCH", path, steps, fence=unfenced, content_type=JSON_PATCH)
        except Gone:
            return False
        except (Refused, Conflict):
            if attempt == ATTEMPTS:
                raise
            found = await client.read(path)
        else:
            _log.info("released", kind=kind.name, **_named(found))
            return True
    return False


def _named(found: Manifest) -> dict[str, str]:
    metadata = found["metadata"]
    return {name: metadata[name] for name in ("namespace", "name") if metadata.get(name)}


async def _run() -> None:
    async with ApiClient(load(), user_agent="bulkhead-release") as client:
        _log.info("finished", released=await release_all(client))


def main() -> None:
    """Release everything; ends with a message when the API server cannot be asked."""
    logs.configure("INFO")
    try:
        uvloop.run(_run())
    except (CredentialsError, ClusterError) as error:
        sys.exit(f"bulkhead-operator: finalizers were not released: {error}")


if __name__ == "__main__":
    main()
