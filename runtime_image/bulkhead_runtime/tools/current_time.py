"""The time, which no model knows by itself."""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime, tzinfo
from typing import Any, Final

from bulkhead_runtime.tools.errors import ToolError
from bulkhead_runtime.tools.port import Tool, ToolContext

ZONE_NAME: Final = r"^[A-Za-z][A-Za-z0-9_+-]*(/[A-Za-z0-9_+-]+){0,2}$"

_UTC: Final = "UTC"
_WEEKDAYS: Final = (
    "Monday",
    "Tuesday",
    "Wednesday",
    "Thursday",
    "Friday",
    "Saturday",
    "Sunday",
)

_PARAMETERS: Final = {
    "type": "object",
    "properties": {
        "timezone": {
            "type": "string",
            "maxLength": 64,
            "pattern": ZONE_NAME,
            "description": "IANA name of the time zone, for example Europe/Berlin; UTC if absent.",
        }
    },
    "additionalProperties": False,
}


def _utc_now() -> datetime:
    return datetime.now(UTC)


def current_time_tool(now: Callable[[], datetime] = _utc_now) -> Tool:
    """Return the tool that tells date and time in any time zone; `now` is the clock, in UTC."""

    async def tell(arguments: Mapping[str, Any], _context: ToolContext) -> dict[str, str]:
        zone = str(arguments.get("timezone", _UTC))
        return tell_time(now(), zone)

    return Tool(
        name="current_time",
        description="Tells the current date, time and weekday in a time zone.",
        parameters=_PARAMETERS,
        risk="low",
        handler=tell,
    )


def tell_time(moment: datetime, zone: str) -> dict[str, str]:
    """Return a moment of UTC in a time zone; raise `ToolError` for a zone that does not exist."""
    local = moment if zone == _UTC else moment.astimezone(_zone(zone))
    return {
        "timezone": zone,
        "time": local.isoformat(timespec="seconds"),
        "weekday": _WEEKDAYS[local.weekday()],
    }


def _zone(name: str) -> tzinfo:
    from zoneinfo import ZoneInfo  # noqa: PLC0415 (reads its search path from disk)

    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        raise ToolError(
            "unknown_timezone",
            f"There is no time zone {name!r}: use an IANA name such as Europe/Berlin or UTC.",
        ) from None
