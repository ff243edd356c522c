"""Errors to Sentry, only when a DSN is mounted, and only what names no tenant's content.

Sent are the exception's class, the stack without local variables, the log line's message and the
ids; never bodies, headers, users or breadcrumbs. Known secrets are taken out of every text.
"""

import asyncio
import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final, cast

from bulkhead_runtime.telemetry.redaction import SECRET_VALUES

if TYPE_CHECKING:
    from sentry_sdk.types import Event, Hint

log = logging.getLogger(__name__)

_DROPPED: Final = ("request", "user", "breadcrumbs", "modules", "server_name")
_FLUSH_SECONDS: Final = 2.0


class ErrorReports:
    """Follows the mounted DSN."""

    def __init__(self, *, organization: str, release: str) -> None:
        self._organization = organization
        self._release = release
        self._dsn: str | None = None
        self._changing = asyncio.Lock()

    async def configure(self, dsn: str | None) -> None:
        """Report to `dsn` from now on, to nobody where it is None; a wrong one is only logged."""
        async with self._changing:
            if dsn == self._dsn:
                return
            self._dsn = dsn
            try:
                await asyncio.to_thread(self._initialise, dsn)
            except ValueError:
                log.warning(
                    "Sentry's DSN is not valid: mount the address that its project settings show"
                )

    async def aclose(self) -> None:
        """Send what waits, within a bounded time, and stop."""
        if self._dsn is not None:
            await asyncio.to_thread(_flush)
            await self.configure(None)

    def _initialise(self, dsn: str | None) -> None:
        import sentry_sdk  # noqa: PLC0415 (half a second)
        from sentry_sdk.integrations.logging import LoggingIntegration  # noqa: PLC0415

        sentry_sdk.init(
            dsn=dsn or "",
            release=self._release,
            default_integrations=False,
            auto_enabling_integrations=False,
            integrations=[LoggingIntegration(level=None, event_level=logging.ERROR)],
            include_local_variables=False,
            include_source_context=False,
            max_breadcrumbs=0,
            before_send=scrub,
        )
        sentry_sdk.get_global_scope().set_tag("organization", self._organization)


def scrub(event: "Event", _: "Hint") -> "Event":
    """Return `event` without what may hold content, and without any known secret."""
    kept: dict[str, Any] = {name: value for name, value in event.items() if name not in _DROPPED}
    if "exception" in kept:
        kept["exception"] = _without_values(kept["exception"])
    return cast("Event", _redacted(kept))


def _without_values(exceptions: Any) -> Any:
    """Keep class and stack of each exception; its text may quote what a user wrote."""
    values = [
        {name: part for name, part in exception.items() if name != "value"}
        for exception in exceptions.get("values", ())
    ]
    return {"values": values}


def _redacted(value: Any) -> Any:
    if isinstance(value, str):
        return SECRET_VALUES.redact(value)
    if isinstance(value, Mapping):
        return {name: _redacted(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_redacted(item) for item in value]
    return value


def _flush() -> None:
    import sentry_sdk  # noqa: PLC0415 (imported already)

    sentry_sdk.flush(timeout=_FLUSH_SECONDS)
