import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from bulkhead_api.runtime_config import ProviderConfig
from bulkhead_runtime.models.errors import ModelError
from bulkhead_runtime.models.port import Moderation, Usage
from bulkhead_runtime.models.router import ModelRouter
from tests.support.stub_provider import StubProvider
from tests.unit.runtime.models.conftest import KEY
from tests.unit.runtime.models.routers import UNREACHABLE, provider, router_of


@pytest.fixture
async def router(tmp_path: Path, stub: StubProvider) -> AsyncIterator[ModelRouter]:
    (tmp_path / "up").write_text(KEY)
    async with router_of(
        tmp_path,
        provider("up", stub.base_url, has_credentials=True),
        provider("dead", UNREACHABLE),
        ProviderConfig(name="anthropic", type="LiteLLM"),
    ) as router:
        yield router


async def judge(
    router: ModelRouter, text: str, name: str = "up", model: str | None = None, seconds: float = 10
) -> Moderation:
    return await router.moderate(
        text, provider=name, model=model, deadline=time.monotonic() + seconds
    )


async def test_the_providers_judgement_names_what_it_found(router: ModelRouter) -> None:
    assert await judge(router, "I like trees") == Moderation(flagged=False, categories=())
    assert await judge(router, "I like violence") == Moderation(
        flagged=True, categories=("violence",)
    )


async def test_the_model_and_the_key_are_those_of_the_spec(
    router: ModelRouter, stub: StubProvider
) -> None:
    await judge(router, "hi", model="words")
    (seen,) = stub.requests
    assert seen.path == "/v1/moderations"
    assert seen.body == {"input": "hi", "model": "words"}
    assert seen.headers["authorization"] == f"Bearer {KEY}"


@pytest.mark.parametrize(
    ("name", "model", "kind"),
    [
        ("up", "error", "unavailable"),
        ("up", "silent", "timeout"),
        ("up", "html", "garbage"),
        ("up", "unauthorized", "unauthorized"),
        ("up", "rate-limited", "rate_limited"),
        ("dead", None, "unavailable"),
        ("gone", None, "unknown_provider"),
        ("anthropic", None, "invalid_request"),
    ],
)
async def test_no_judgement_is_an_error_that_never_tells_the_key(
    router: ModelRouter, name: str, model: str | None, kind: str
) -> None:
    with pytest.raises(ModelError) as failed:
        await judge(router, "hi", name, model)
    assert failed.value.kind == kind
    assert KEY not in failed.value.message


async def test_a_deadline_that_has_passed_sends_nothing(
    router: ModelRouter, stub: StubProvider
) -> None:
    with pytest.raises(ModelError) as failed:
        await judge(router, "hi", seconds=-1)
    assert failed.value.kind == "timeout"
    assert not stub.requests


async def test_a_provider_that_counts_tokens_is_believed(router: ModelRouter) -> None:
    judged = await judge(router, "I like trees", model="words;counted=9")
    assert judged.input_tokens == 9


@pytest.mark.parametrize("counted", ["0", "-9", "9000000000000000000"])
async def test_a_count_that_cannot_be_is_none(router: ModelRouter, counted: str) -> None:
    judged = await judge(router, "I like trees", model=f"words;counted={counted}")
    assert judged.input_tokens is None


@pytest.mark.parametrize(
    ("counted", "tokens", "estimated"),
    [
        pytest.param(9, 9, False, id="as the provider counted"),
        pytest.param(None, 20, True, id="at most its bytes and the marks around them"),
    ],
)
def test_a_moderation_takes_so_many_tokens(
    router: ModelRouter, counted: int | None, tokens: int, estimated: bool
) -> None:
    usage = router.moderation_usage("I like trees", provider="up", model="words", counted=counted)
    assert usage == Usage(tokens, 0, None, estimated)
