"""Kopf's handlers: one `on.event` per kind of ours, and how kopf logs in. Nothing else, ever.

No handler watches Secrets, and none detects changes: kopf would keep copies of what it saw.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final

import kopf

from bulkhead_api.names import GROUP, VERSION
from bulkhead_operator.cluster.credentials import Credentials

PLURALS: Final = ("organizationruntimes", "agentpackages", "memorypools")

_LOOKED_AT: Final = (
    "name",
    "namespace",
    "uid",
    "resourceVersion",
    "finalizers",
    "deletionTimestamp",
)
"""Metadata by which kopf names an object and decides about its own finalizer."""


def registry_of(
    rang: Callable[[Mapping[str, Any]], object], credentials: Credentials
) -> kopf.OperatorRegistry:
    """Return a registry of its own; `rang` is called with each event, in kopf's thread."""
    registry = kopf.OperatorRegistry()

    async def ring(event: Mapping[str, Any], **_: Any) -> None:
        body: dict[str, Any] = event["object"]
        rang({"type": event["type"], "object": body.copy()})
        _leave_shell(body)

    for plural in PLURALS:
        kopf.on.event(GROUP, VERSION, plural, id=plural, registry=registry)(ring)
    kopf.on.login(id="login", registry=registry)(_login(credentials))
    return registry


def _leave_shell(body: dict[str, Any]) -> None:
    """Take out of an event's body what kopf does not look at any more.

    What kopf makes of each event refers to itself in a circle, so the body lies in memory until
    the next search for circles that gets so far: tens of kilobytes per event, for minutes.
    """
    metadata = body["metadata"]
    body.clear()
    body["metadata"] = {name: metadata[name] for name in _LOOKED_AT if name in metadata}


def _login(credentials: Credentials) -> Callable[..., Any]:
    async def login(**_: Any) -> kopf.ConnectionInfo:
        return kopf.ConnectionInfo(
            server=credentials.server,
            ca_data=credentials.authority,
            token=credentials.token.current() or None,
            certificate_data=credentials.certificate,
            private_key_data=credentials.private_key,
        )

    return login
