import resource
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from bulkhead_api.runtime_config import ModelsConfig, ProviderConfig
from bulkhead_runtime.models.credentials import MAX_KEY_BYTES
from bulkhead_runtime.models.errors import ModelError
from bulkhead_runtime.models.port import Finished, ModelInfo
from bulkhead_runtime.models.router import ModelRouter
from tests.support.stub_provider import StubProvider
from tests.unit.runtime.models.conftest import request


@pytest.fixture
async def router(tmp_path: Path, stub: StubProvider) -> AsyncIterator[ModelRouter]:
    """Know one provider with a key, one without, and one that litellm translates for."""
    (tmp_path / "up").write_text("first-key\n")
    router = ModelRouter(tmp_path, organization="acme")
    router.configure(
        ModelsConfig(
            default="up/words",
            providers=(
                ProviderConfig(
                    name="up",
                    type="OpenAICompatible",
                    base_url=stub.base_url,
                    has_credentials=True,
                ),
                ProviderConfig(name="open", type="OpenAICompatible", base_url=stub.base_url),
                ProviderConfig(name="anthropic", type="LiteLLM", has_credentials=True),
            ),
        )
    )
    yield router
    await router.aclose()


async def finish(router: ModelRouter, model: str) -> Finished:
    parts = [part async for part in router.call(request(model), (model,)).stream()]
    assert isinstance(parts[-1], Finished)
    return parts[-1]


async def test_each_name_leads_to_its_provider(router: ModelRouter) -> None:
    assert await finish(router, "offline/echo") == Finished("stop", "offline/echo")
    assert await finish(router, "open/words") == Finished("stop", "words")


async def test_a_provider_without_credentials_is_sent_none(
    router: ModelRouter, stub: StubProvider
) -> None:
    await finish(router, "open/words")
    assert "authorization" not in stub.requests[0].headers


async def test_a_rotated_key_is_used_by_the_next_call(
    router: ModelRouter, stub: StubProvider, tmp_path: Path
) -> None:
    await finish(router, "up/words")
    (tmp_path / "up").write_text("second-key")
    router.reload_credentials()
    await finish(router, "up/words")
    sent = [seen.headers["authorization"] for seen in stub.requests]
    assert sent == ["Bearer first-key", "Bearer second-key"]


async def test_connections_outlive_a_new_configuration(
    router: ModelRouter, stub: StubProvider
) -> None:
    await finish(router, "open/words")
    router.reload_credentials()
    await finish(router, "open/words")
    assert len({seen.client for seen in stub.requests}) == 1


@pytest.mark.parametrize(
    ("model", "kind", "hint"),
    [
        ("nobody/words", "unknown_provider", "one of offline, anthropic, open, up"),
        ("words", "unknown_provider", "write PROVIDER/MODEL"),
        ("up/", "unknown_provider", "write PROVIDER/MODEL"),
        ("anthropic/claude", "missing_credentials", "credentialsRef"),
    ],
)
def test_a_name_that_leads_nowhere_is_refused_with_the_remedy(
    router: ModelRouter, model: str, kind: str, hint: str
) -> None:
    with pytest.raises(ModelError) as refused:
        router.plan(model, None, None)
    assert refused.value.kind == kind
    assert hint in refused.value.message


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"", id="an empty file"),
        pytest.param(b"  \n", id="white space"),
        pytest.param(b"a\r\nX-Injected: b", id="a second header"),
        pytest.param("schlüssel".encode(), id="letters that no header can carry"),
        pytest.param(b"k" * (MAX_KEY_BYTES + 1), id="an oversized file"),
    ],
)
def test_a_key_that_cannot_be_used_counts_as_missing(
    router: ModelRouter, tmp_path: Path, content: bytes
) -> None:
    (tmp_path / "up").write_bytes(content)
    router.reload_credentials()
    assert router.missing_credentials() == ("up", "anthropic")


def test_a_key_that_cannot_be_read_for_a_moment_is_kept(router: ModelRouter) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (1, hard))
    try:
        router.reload_credentials()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert router.missing_credentials() == ("anthropic",)


def test_a_key_that_was_taken_away_is_not_used_any_more(
    router: ModelRouter, tmp_path: Path
) -> None:
    (tmp_path / "up").unlink()
    router.reload_credentials()
    assert "up" in router.missing_credentials()


def test_missing_credentials_are_named_until_they_are_mounted(
    router: ModelRouter, tmp_path: Path
) -> None:
    assert router.missing_credentials() == ("anthropic",)
    (tmp_path / "anthropic").write_text("key")
    router.reload_credentials()
    assert router.missing_credentials() == ()


def test_only_compatible_providers_have_a_byte_lane(router: ModelRouter, tmp_path: Path) -> None:
    (tmp_path / "anthropic").write_text("key")
    router.reload_credentials()
    assert router.has_byte_lane("up/words")
    assert not router.has_byte_lane("offline/echo")
    assert not router.has_byte_lane("anthropic/claude")


async def test_a_fallback_without_a_byte_lane_leaves_none_to_what_it_stands_in_for(
    tmp_path: Path, stub: StubProvider
) -> None:
    up = ProviderConfig(name="up", type="OpenAICompatible", base_url=stub.base_url)
    translated = ProviderConfig(name="anthropic", type="LiteLLM")
    router = ModelRouter(tmp_path)
    models = ModelsConfig(
        default="up/words", providers=(up, translated), fallbacks=("anthropic/claude",)
    )
    router.configure(models)
    assert not router.has_byte_lane("up/words")
    await router.aclose()


def test_what_can_be_named_is_listed(router: ModelRouter) -> None:
    assert router.list_models() == (
        ModelInfo("offline/echo", "offline"),
        ModelInfo("anthropic/*", "anthropic"),
        ModelInfo("open/*", "open"),
        ModelInfo("up/*", "up"),
    )


def test_the_router_imports_neither_litellm_nor_an_http_client() -> None:
    script = (
        "import sys; from pathlib import Path;"
        "from bulkhead_runtime.models.router import ModelRouter;"
        "ModelRouter(Path('/nonexistent'));"
        "sys.exit(bool({'litellm', 'aiohttp', 'jsonschema'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0
