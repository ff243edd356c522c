"""An organization as a tenant's page meets it: packages, versions, tools, budgets, several keys."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bulkhead_api.runtime_config import ProviderConfig, RuntimeConfig
from bulkhead_api.v1alpha1.models import ModelPrice
from tests.support.runtime_process import (
    RuntimeFiles,
    RuntimeProcess,
    agent,
    client,
    configuration,
    document,
)
from tests.support.stub_provider import StubProvider

HOSTILE = "<img src=x onerror=alert(1)><script>alert(2)</script>\"'`${alert(3)}"
READER_KEY = "key-that-only-reads-sessions"
TALKER_KEY = "key-that-only-talks"

_KEYS = {
    "reader": (READER_KEY, ["sessions:read", "sessions:any"]),
    "talker": (TALKER_KEY, ["agents:run"]),
}


class Tenant:
    """The files and the process of one organization."""

    def __init__(self, directory: Path, provider: StubProvider) -> None:
        self.files = RuntimeFiles(directory)
        self.files.api_keys.switch({name: key.encode() for name, (key, _) in _KEYS.items()})
        self.provider = provider

    def follow(self, **sections: Any) -> RuntimeConfig:
        """Let the organization have its packages, and the sections of the spec besides."""
        support = "stub/words;chunks=40;delay_ms=20"
        helper = [
            agent(
                "assistant", description="Answers questions and calculates.", tools=["calculate"]
            ),
            agent("support", description="Answers word by word.", model=support),
            agent("hanging", description="Begins and never ends.", model="stub/hang"),
            agent("broken", description=f"Fails always. {HOSTILE}", model="stub/error"),
        ]
        weighted = [
            (document("1.4.0", *helper), 90),
            (document("1.5.0", *helper, agent("newcomer")), 10),
            (
                document("2.0.3", agent("researcher", tools=["current_time"]), package="library"),
                100,
            ),
        ]
        entries = [
            {"name": name, "secretRef": {"name": "keys"}, "scopes": scopes}
            for name, (_, scopes) in _KEYS.items()
        ]
        stub = ProviderConfig(
            name="stub",
            type="OpenAICompatible",
            base_url=self.provider.base_url,
            max_retries=0,
        )
        price = ModelPrice(
            model="stub/words;chunks=40;delay_ms=20",
            input_per_million="0.15",
            output_per_million="0.60",
        )
        options: dict[str, Any] = {
            "providers": (stub,),
            "prices": (price,),
            "authentication": {"apiKeys": entries},
            "budgets": {"day": {"tokens": 20_000, "cost": "5.00"}},
            **sections,
        }
        config = configuration(*weighted, **options)
        self.files.config.configure(config, *(item for item, _ in weighted))
        return config

    @contextlib.contextmanager
    def running(self) -> Iterator[RuntimeProcess]:
        """Run the organization's runtime."""
        with RuntimeProcess(self.files) as process:
            yield process


async def talk(
    runtime: RuntimeProcess, message: str, agent_name: str = "assistant", **body: Any
) -> str:
    """Send a message to an agent and return its session's id."""
    async with (
        client(runtime) as http,
        http.post(
            f"/v1/agents/{agent_name}/execute", json={"message": message, **body}
        ) as response,
    ):
        answer = await response.json()
        assert response.status == 200, answer
        return str(answer["session_id"])
