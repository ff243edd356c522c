"""Asks the API server whether it names our kinds to clients that discover.

It serves a kind some moments before it names it, and kopf, which watches only what is named when
it starts, would be deaf to that kind without an error.
"""

from typing import Final

from bulkhead_api.names import API_VERSION
from bulkhead_operator.cluster.client import ApiClient
from bulkhead_operator.cluster.kinds import KINDS
from bulkhead_operator.errors import ClusterError

_PLURALS: Final = frozenset(kind.plural for kind in KINDS if kind.api_version == API_VERSION)


async def discoverable(client: ApiClient) -> None:
    """Raise `ClusterError` unless our group's version and all of its kinds are named.

    Two documents, since the list of groups may name a version later than the version its kinds.
    """
    groups = (await client.read("/apis"))["groups"]
    versions = {version["groupVersion"] for group in groups for version in group["versions"]}
    _require({API_VERSION} - versions)
    resources = (await client.read(f"/apis/{API_VERSION}"))["resources"]
    _require(_PLURALS - {resource["name"] for resource in resources})


def _require(missing: frozenset[str] | set[str]) -> None:
    if missing:
        raise ClusterError(
            "NotServed",
            f"the API server does not name {', '.join(sorted(missing))} yet: see that the chart's"
            " CustomResourceDefinitions are installed",
        )
