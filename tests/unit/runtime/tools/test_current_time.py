from datetime import UTC, datetime

import pytest

from bulkhead_runtime.tools.current_time import current_time_tool, tell_time
from bulkhead_runtime.tools.errors import ToolError

NEW_YEARS_EVE = datetime(2026, 12, 31, 23, 30, tzinfo=UTC)


def test_tells_the_time_in_the_zone_that_was_asked_for() -> None:
    assert tell_time(NEW_YEARS_EVE, "Europe/Berlin") == {
        "timezone": "Europe/Berlin",
        "time": "2027-01-01T00:30:00+01:00",
        "weekday": "Friday",
    }


@pytest.mark.parametrize("zone", ["Mars/Olympus", "../../etc/passwd", "", "Europe"])
def test_names_the_remedy_for_a_zone_that_does_not_exist(zone: str) -> None:
    with pytest.raises(ToolError, match="use an IANA name") as refused:
        tell_time(NEW_YEARS_EVE, zone)
    assert refused.value.code == "unknown_timezone"


def test_is_harmless_by_its_own_word() -> None:
    assert current_time_tool().risk == "low"
