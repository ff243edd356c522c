"""Asks the API server which versions of a kind there are, without their content."""

from collections.abc import Mapping
from dataclasses import dataclass

from bulkhead_operator.cluster.client import METADATA_LIST, ApiClient
from bulkhead_operator.cluster.kinds import kind_of
from bulkhead_operator.cluster.port import ObjectKey


@dataclass(frozen=True, slots=True)
class Versions:
    """The resourceVersions of all objects of a kind, as they were at version `at`."""

    at: int
    objects: Mapping[ObjectKey, int]


async def versions_of(client: ApiClient, api_version: str, kind: str) -> Versions:
    """List a kind's metadata from the API server's memory; raises `ClusterError`."""
    known = kind_of(ObjectKey(api_version, kind, None, ""))
    page = await client.read(known.collection(), {"resourceVersion": "0"}, accept=METADATA_LIST)
    return Versions(
        at=int(page["metadata"]["resourceVersion"]),
        objects={
            known.key(item): int(item["metadata"]["resourceVersion"])
            for item in page.get("items") or ()
        },
    )
