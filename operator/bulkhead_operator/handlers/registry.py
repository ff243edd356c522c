"""Kopf's handlers: one `on.event` per kind of ours, and how kopf logs in. Nothing else, ever.

No handler watches Secrets, and none detects changes: kopf would keep copies of what it saw.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final

import kopf

from bulkhead_api.names import GROUP, VERSION
from bulkhead_operator.cluster.credentials import Credentials

PLURALS: Final = ("organizationruntimes", "agentpackages", "memorypools")


def registry_of(
    rang: Callable[[Mapping[str, Any]], object], credentials: Credentials
) -> kopf.OperatorRegistry:
    """Return a registry of its own; `rang` is called with each event, in kopf's thread."""
    registry = kopf.OperatorRegistry()

    async def ring(event: Mapping[str, Any], **_: Any) -> None:
        rang(event)

    for plural in PLURALS:
        kopf.on.event(GROUP, VERSION, plural, id=plural, registry=registry)(ring)
    kopf.on.login(id="login", registry=registry)(_login(credentials))
    return registry


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
