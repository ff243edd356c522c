"""Asks an address whether it answers, under the rules that hold for the tools of packages."""

from typing import Final

from bulkhead_api.v1alpha1.tools import Tools
from bulkhead_runtime.tools.web.access import HttpAccess
from bulkhead_runtime.tools.web.targets import parse_target

_MAX_BYTES: Final = 1024
"""Nothing of the answer is looked at but its status."""


async def status_of(url: str, settings: Tools, access: HttpAccess) -> int:
    """Return the status that answers GET; raise `ToolError` where none does or none may.

    How long it takes is for the caller to bound.
    """
    target = parse_target(url)
    client = access.way_to(target.raw_host or "", settings).client
    return (await client.request("GET", target, max_bytes=_MAX_BYTES)).status
