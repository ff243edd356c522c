import logging
from collections.abc import AsyncIterator

import pytest

from bulkhead_runtime.telemetry.redaction import SECRET_VALUES
from bulkhead_runtime.telemetry.sentry import ErrorReports
from tests.support.deadline import until
from tests.support.runtime.telemetry_receivers import SentryServer, running_sentry

SECRET = "sk-canary-0123456789"
log = logging.getLogger("bulkhead_runtime.test")


@pytest.fixture
async def sentry() -> AsyncIterator[SentryServer]:
    SECRET_VALUES.replace({SECRET})
    with running_sentry() as server:
        yield server
    SECRET_VALUES.replace(set())


async def test_an_error_arrives_with_class_stack_and_ids_and_nothing_that_a_user_wrote(
    sentry: SentryServer,
) -> None:
    reports = ErrorReports(organization="acme", release="1.2.3")
    await reports.configure(sentry.dsn)
    try:
        int(f"what a user wrote, {SECRET}")
    except ValueError:
        log.exception("Turn failed", extra={"trace_id": "a" * 32, "reason": f"key {SECRET}"})

    async def arrived() -> bool:
        return bool(sentry.events())

    await until(arrived, "the report arrives")
    await reports.aclose()

    (event,) = sentry.events()
    (exception,) = event["exception"]["values"]
    assert exception["type"] == "ValueError"
    assert exception["stacktrace"]["frames"][-1]["function"].startswith("test_an_error_arrives")
    assert event["tags"]["organization"] == "acme"
    assert event["extra"]["trace_id"] == "a" * 32
    assert event["extra"]["reason"] == "key [redacted]"
    assert not {"request", "user", "breadcrumbs", "server_name"} & event.keys()
    assert SECRET.encode() not in sentry.raw
    assert b"what a user wrote" not in sentry.raw


async def test_warnings_are_not_reported_and_nothing_is_after_the_dsn_has_gone(
    sentry: SentryServer,
) -> None:
    reports = ErrorReports(organization="acme", release="1.2.3")
    await reports.configure(sentry.dsn)
    log.warning("Provider failed")
    await reports.aclose()
    log.error("Nobody hears this")

    assert sentry.events() == []


async def test_a_wrong_dsn_is_logged_without_being_shown(
    caplog: pytest.LogCaptureFixture,
) -> None:
    reports = ErrorReports(organization="acme", release="1.2.3")
    await reports.configure(f"not a dsn {SECRET}")

    assert "Sentry's DSN is not valid" in caplog.text
    assert SECRET not in caplog.text
