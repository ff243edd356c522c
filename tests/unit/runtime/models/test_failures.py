"""What a provider's failure tells, whichever lane met it."""

import time
from email.utils import formatdate

import pytest

from bulkhead_runtime.models.failures import retry_after


@pytest.mark.parametrize(
    ("told", "seconds"),
    [
        pytest.param("30", 30, id="seconds"),
        pytest.param("0.5", 0.5, id="parts of a second"),
        pytest.param("0", 0, id="at once"),
        pytest.param("86400", 3600, id="a day, of which an hour is believed"),
        pytest.param("inf", 3600, id="for ever, of which an hour is believed"),
        pytest.param(formatdate(time.time() + 2**30, usegmt=True), 3600, id="a date far ahead"),
        pytest.param(formatdate(0, usegmt=True), None, id="a date that has passed"),
        pytest.param("-1", None, id="less than none"),
        pytest.param("nan", None, id="no number"),
        pytest.param("soon", None, id="a word"),
        pytest.param("", None, id="nothing"),
    ],
)
def test_a_wait_is_what_the_provider_asks_for(told: str, seconds: float | None) -> None:
    assert retry_after({"Retry-After": told}) == seconds


def test_a_wait_until_a_date_is_the_time_until_then() -> None:
    wait = retry_after({"Retry-After": formatdate(time.time() + 1800, usegmt=True)})
    assert wait is not None
    assert 0 < wait <= 1800


def test_no_header_asks_for_no_wait() -> None:
    assert retry_after({}) is None
