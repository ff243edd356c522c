"""Routers in front of the stub provider, as one organization configures them."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from bulkhead_api.runtime_config import ModelsConfig, ProviderConfig
from bulkhead_runtime.models.port import OnSwitch, Part, Spent, TextDelta
from bulkhead_runtime.models.router import ModelRouter
from tests.support.stub_provider import StubProvider
from tests.unit.runtime.models.conftest import request

UNREACHABLE = "http://127.0.0.1:9/v1"


def provider(name: str, base_url: str, **settings: Any) -> ProviderConfig:
    """Return a provider that needs no key and is given up after three seconds."""
    known = {"timeout_seconds": 3, **settings}
    return ProviderConfig(name=name, type="OpenAICompatible", base_url=base_url, **known)


def two_providers(stub: StubProvider, **settings: Any) -> tuple[ProviderConfig, ...]:
    """Return `up`, which the settings are of, and `other`, both the stub; `dead` is nobody."""
    return (
        provider("up", stub.base_url, **settings),
        provider("other", stub.base_url),
        provider("dead", UNREACHABLE, **settings),
    )


@asynccontextmanager
async def router_of(
    directory: Path, *providers: ProviderConfig, on_circuit: Any = None, **models: Any
) -> AsyncIterator[ModelRouter]:
    """Open a router that follows these providers."""
    router = ModelRouter(directory, on_circuit=on_circuit)
    router.configure(ModelsConfig(default="offline/echo", providers=providers, **models))
    try:
        yield router
    finally:
        await router.aclose()


class Heard:
    """One call heard to its end, however it ended."""

    def __init__(self) -> None:
        self.parts: list[Part] = []
        self.spent: tuple[Spent, ...] = ()
        self.model = ""
        self.begun = asyncio.Event()

    @property
    def text(self) -> str:
        """Return what was said."""
        return "".join(part.text for part in self.parts if isinstance(part, TextDelta))


async def hear(
    router: ModelRouter, *plan: str, on_switch: OnSwitch | None = None, **asked: Any
) -> Heard:
    """Call the plan's models and return what was heard; what was spent also when it raises."""
    heard = Heard()
    await hear_into(heard, router, *plan, on_switch=on_switch, **asked)
    return heard


async def hear_into(
    heard: Heard, router: ModelRouter, *plan: str, on_switch: OnSwitch | None = None, **asked: Any
) -> None:
    """Call the plan's models and note what is heard as it comes."""
    call = router.call(request(plan[0], **asked), plan, on_switch)
    try:
        async for part in call.stream():
            heard.parts.append(part)
            heard.begun.set()
    finally:
        heard.spent, heard.model = call.spent, call.model
