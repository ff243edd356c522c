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
    """List a kind's metadata as it is at one moment; raises `ClusterError`.

    In pages, because metadata is mostly managedFields: of a thousand objects at once it would take
    tens of megabytes, which the process would hardly give back.
    """
    known = kind_of(ObjectKey(api_version, kind, None, ""))
    query = {"limit": str(known.page)}
    objects: dict[ObjectKey, int] = {}
    while True:
        page = await client.read(known.collection(), query, accept=METADATA_LIST)
        for item in page.get("items") or ():
            objects[known.key(item)] = int(item["metadata"]["resourceVersion"])
        if not page["metadata"].get("continue"):
            return Versions(at=int(page["metadata"]["resourceVersion"]), objects=objects)
        query = {**query, "continue": page["metadata"]["continue"]}
