"""executionConfig.retries: a message's first call is made again while nothing has come of it."""

from pathlib import Path

import pytest

from bulkhead_api.runtime_config import PackageContent, PackageDocument
from bulkhead_api.v1alpha1.package_dependencies import ExecutionConfig
from bulkhead_runtime.errors import Problem
from bulkhead_runtime.kernel.repeating import (
    FIRST_WAIT_SECONDS,
    LONGEST_WAIT_SECONDS,
    wait_before_repeat,
)
from bulkhead_runtime.models.errors import ModelError, ModelErrorKind
from tests.support.runtime.in_process import running, say, stubbed
from tests.support.runtime_process import agent
from tests.support.stub_provider import StubProvider

REQUESTS_OF_A_CALL = 3
"""A provider is asked again twice within one call."""


def _patient(retries: int, *tools: str, own: int | None = None) -> PackageDocument:
    """Return a document whose version allows so many repetitions, and its agent `own`."""
    assistant = agent(tools=tools).model_copy(update={"retries": own})
    content = PackageContent(agents=(assistant,), execution_config=ExecutionConfig(retries=retries))
    return PackageDocument.holding("support", "1.0.0", content)


async def test_a_message_is_answered_by_the_call_that_is_made_again(
    tmp_path: Path, provider: StubProvider
) -> None:
    provider.forget()
    mode = f"busy-once;times={REQUESTS_OF_A_CALL}"
    async with running(tmp_path, _patient(1), **stubbed(provider, mode)) as runtime:
        result = await say(runtime, "hello")
    assert result.status == "completed"
    assert len(provider.requests) == REQUESTS_OF_A_CALL + 1


@pytest.mark.parametrize(
    ("retries", "own"),
    [
        pytest.param(0, None, id="the version allows none"),
        pytest.param(3, 0, id="its agent allows none, which is narrower"),
    ],
)
async def test_without_repetitions_one_failed_call_fails_the_message(
    tmp_path: Path, provider: StubProvider, retries: int, own: int | None
) -> None:
    provider.forget()
    mode = f"busy-once;times={REQUESTS_OF_A_CALL}"
    document = _patient(retries, own=own)
    async with running(tmp_path, document, **stubbed(provider, mode)) as runtime:
        with pytest.raises(Problem):
            await say(runtime, "hello")
    assert len(provider.requests) == REQUESTS_OF_A_CALL


async def test_a_message_fails_once_every_call_that_is_allowed_has_failed(
    tmp_path: Path, provider: StubProvider
) -> None:
    provider.forget()
    async with running(tmp_path, _patient(1), **stubbed(provider, "busy-once;times=99")) as runtime:
        with pytest.raises(Problem):
            await say(runtime, "hello")
    assert len(provider.requests) == 2 * REQUESTS_OF_A_CALL


async def test_what_somebody_has_begun_to_read_is_never_asked_again(
    tmp_path: Path, provider: StubProvider
) -> None:
    provider.forget()
    async with running(tmp_path, _patient(3), **stubbed(provider, "cut")) as runtime:
        with pytest.raises(Problem):
            await say(runtime, "hello")
    assert len(provider.requests) == 1


async def test_nothing_is_asked_again_once_a_tool_ran(
    tmp_path: Path, provider: StubProvider
) -> None:
    provider.forget()
    document = _patient(3, "calculate")
    async with running(tmp_path, document, **stubbed(provider, "busy-after-tools")) as runtime:
        with pytest.raises(Problem):
            await say(runtime, "6 * 7")
    assert len(provider.requests) == 1 + REQUESTS_OF_A_CALL


@pytest.mark.parametrize("kind", ["refused", "unauthorized", "unknown_model", "denied"])
def test_what_no_patience_helps_is_not_asked_again(kind: ModelErrorKind) -> None:
    assert wait_before_repeat(ModelError(kind, "no"), 0, 60.0) is None


@pytest.mark.parametrize("kind", ["rate_limited", "timeout", "unavailable", "garbage"])
@pytest.mark.parametrize("made", range(4))
def test_what_may_pass_is_asked_again_each_time_after_about_twice_the_pause(
    kind: ModelErrorKind, made: int
) -> None:
    wait = wait_before_repeat(ModelError(kind, "later"), made, 60.0)
    longest = FIRST_WAIT_SECONDS * 2**made
    assert wait is not None
    assert longest / 2 <= wait <= longest


def test_a_pause_that_the_message_has_no_time_for_is_not_begun() -> None:
    error = ModelError("rate_limited", "slow down", retry_after=20.0)
    assert wait_before_repeat(error, 0, 10.0) is None
    assert wait_before_repeat(error, 0, 60.0) == 20.0


def test_nobody_waits_longer_than_the_bound() -> None:
    error = ModelError("rate_limited", "slow down", retry_after=LONGEST_WAIT_SECONDS + 1)
    assert wait_before_repeat(error, 0, 3600.0) is None
