"""An organization as a tenant's page meets it: packages, tools, a budget, several keys."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiohttp

from bulkhead_api.runtime_config import PackageDocument, ProviderConfig
from bulkhead_api.v1alpha1.agents import HttpTool
from bulkhead_api.v1alpha1.models import ModelPrice
from tests.support.runtime_process import RuntimeFiles, RuntimeProcess, agent, client, document
from tests.support.stub_provider import StubProvider

READER_KEY = "key-that-only-reads-sessions"
TALKER_KEY = "key-that-only-talks"
WORDS = 60
_STREAMING = f"hosted/words;chunks={WORDS};delay_ms=80"

_KEYS = {
    "reader": (READER_KEY, ["sessions:read", "sessions:any"]),
    "talker": (TALKER_KEY, ["agents:run"]),
}
_HELPERS = (
    agent("assistant", description="Answers questions and calculates.", tools=["calculate"]),
    agent("support", description="Answers word by word.", model=_STREAMING),
    agent("thinker", description="Begins and takes its time.", model="hosted/hang"),
    agent("unlucky", description="Its provider fails.", model="hosted/error"),
)
_LOOKUP = HttpTool.model_validate(
    {
        "name": "find_order",
        "description": "Finds an order by its number.",
        "url": "https://orders.example/v1/{number}",
        "parameters": {"type": "object", "properties": {"number": {"type": "string"}}},
    }
)
_LIBRARIAN = agent("librarian", description="Knows the handbook.", tools=["find_order"])
PACKAGES: tuple[tuple[PackageDocument, int], ...] = (
    (document("1.4.0", *_HELPERS), 90),
    (document("1.5.0", *_HELPERS), 10),
    (PackageDocument.of("library", "2.0.3", (_LIBRARIAN,), (_LOOKUP,)), 100),
)


class Tenant:
    """The files of one organization, whose hosted models are a stub's."""

    def __init__(self, directory: Path, provider: StubProvider) -> None:
        self.files = RuntimeFiles(directory)
        self.files.api_keys.switch({name: key.encode() for name, (key, _) in _KEYS.items()})
        self._provider = provider

    def follow(
        self, *weighted: tuple[PackageDocument, int], budget: int = 20_000, **sections: Any
    ) -> None:
        """Let the organization have packages, tokens for a day, and sections of the spec."""
        keys = [
            {"name": name, "secretRef": {"name": "keys"}, "scopes": scopes}
            for name, (_, scopes) in _KEYS.items()
        ]
        hosted = ProviderConfig(
            name="hosted",
            type="OpenAICompatible",
            base_url=self._provider.base_url,
            max_retries=0,
        )
        price = ModelPrice(model=_STREAMING, input_per_million="15", output_per_million="60")
        self.files.follow(
            *(weighted or PACKAGES),
            **{
                "providers": (hosted,),
                "prices": (price,),
                "authentication": {"apiKeys": keys},
                "budgets": {"day": {"tokens": budget}},
                **sections,
            },
        )

    @contextlib.contextmanager
    def running(self) -> Iterator[RuntimeProcess]:
        """Run the organization's runtime."""
        with RuntimeProcess(self.files) as process:
            yield process


async def talk(
    runtime: RuntimeProcess, message: str, agent_name: str = "assistant", **body: Any
) -> str:
    """Send a message to an agent and return its session's id."""
    path = f"/v1/agents/{agent_name}/execute"
    async with client(runtime) as http:
        return await _ask(http, path, {"message": message, **body})


async def _ask(http: aiohttp.ClientSession, path: str, body: dict[str, Any]) -> str:
    async with http.post(path, json=body) as response:
        answer = await response.json()
        assert response.status == 200, answer
        return str(answer["session_id"])
