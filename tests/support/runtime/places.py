"""Where the runtime processes of one organization live: its files, and its stores beside them."""

import asyncio
import secrets
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp

from bulkhead_api.runtime_config import PackageDocument, ProviderConfig
from bulkhead_api.v1alpha1.models import CircuitBreaker, ModelPrice
from bulkhead_runtime.store.of_record import StoreOfRecord
from bulkhead_runtime.store.postgres.opening import open_store
from bulkhead_runtime.store.spending import Account, Balance
from bulkhead_runtime.store.sqlite import SqliteStore
from tests.support.postgres import Postgres
from tests.support.redis_server import Redis
from tests.support.runtime_process import RuntimeFiles, RuntimeProcess, document
from tests.support.stub_provider import StubProvider

PRICED = {"inputPerMillion": "1", "outputPerMillion": "2"}
"""What a token of the stub's models costs: 1 and 2 millionths of a dollar."""

ROOMY = {
    "maxConcurrentAgents": 100,
    "maxQueueSize": 1_000,
    "maxParallelSessions": 1_000,
    "maxSessionsPerPrincipal": 100_000,
    "sessionCreationsPerMinute": 100_000,
}
"""Limits that no test of something else runs into."""


@dataclass(frozen=True)
class Place:
    """One organization's files, and what its processes are told of its stores."""

    organization: str
    files: RuntimeFiles
    environment: dict[str, str] = field(default_factory=dict)

    def follow(self, *documents: PackageDocument, **sections: Any) -> None:
        """Configure what all its processes follow."""
        served = documents or (document(),)
        self.files.follow(
            *((one, 100) for one in served),
            **{"limits": ROOMY, **sections},
            organization=self.organization,
        )

    def process(self, **options: Any) -> RuntimeProcess:
        """Start one more process."""
        environment = {
            "BULKHEAD_ORGANIZATION": self.organization,
            **self.environment,
            **options.pop("environment", {}),
        }
        return RuntimeProcess(self.files, environment=environment, **options)

    @asynccontextmanager
    async def replicas(self, count: int) -> AsyncIterator[tuple[RuntimeProcess, ...]]:
        """Run so many processes; the event loop goes on while they start."""
        async with AsyncExitStack() as stack:
            started = tuple(stack.enter_context(_ended(self.process())) for _ in range(count))
            for process in started:
                await asyncio.to_thread(process.wait_until_listening)
            yield started

    async def balances(self, *accounts: Account) -> tuple[Balance, ...]:
        """Return where accounts stand, asked of the store itself, as one more replica can."""
        store = self._open()
        try:
            return await store.balances(accounts)
        finally:
            await store.close()

    def _open(self) -> StoreOfRecord:
        if not self.environment:
            return SqliteStore(self.files.data)
        mounted = self.files.directory / "secrets"
        return open_store(self.organization, mounted, connections=1, cache=False)


@contextmanager
def _ended(process: RuntimeProcess) -> Iterator[RuntimeProcess]:
    try:
        yield process
    finally:
        process.kill()


def embedded(directory: Path) -> Place:
    """An organization on the embedded store."""
    return Place("acme", RuntimeFiles(directory))


async def shared(
    directory: Path,
    postgres: Postgres,
    redis: Redis | None = None,
    *,
    name: str = "acme",
    ports: tuple[int | None, int | None] = (None, None),
) -> Place:
    """An organization on PostgreSQL, and Redis; `ports` lead to them through something between."""
    organization = f"{name}-{secrets.token_hex(6)}"
    files = RuntimeFiles(directory)
    dsn = await postgres.add_organization(organization)
    addresses = {"postgres/dsn": _through(dsn, postgres.server.port, ports[0])}
    if redis is not None:
        url = redis.add_organization(organization)
        addresses["redis/url"] = _through(url, redis.server.port, ports[1])
    for path, address in addresses.items():
        file = files.directory / "secrets" / path
        file.parent.mkdir(parents=True)
        file.write_text(address)
    environment = {
        "BULKHEAD_STORE": "postgres",
        "BULKHEAD_REDIS": "false" if redis is None else "true",
    }
    return Place(organization, files, environment)


def stubbed(stub: StubProvider, modes: Iterable[str], **fields: Any) -> dict[str, Any]:
    """Sections of a configuration: the stub as a provider, with a price for each mode."""
    provider = ProviderConfig.model_validate(
        {
            "name": "stub",
            "type": "OpenAICompatible",
            "baseURL": stub.base_url,
            # Tests that make it fail ask the same provider again and again.
            "circuitBreaker": CircuitBreaker(failures=1000),
            **fields,
        }
    )
    return {"providers": (provider,), "prices": prices(f"stub/{mode}" for mode in modes)}


def prices(models: Iterable[str]) -> tuple[ModelPrice, ...]:
    """What models cost."""
    return tuple(ModelPrice.model_validate({"model": model, **PRICED}) for model in models)


async def answered(
    http: aiohttp.ClientSession, path: str, body: Any, **headers: str
) -> dict[str, Any]:
    """Post, and return the answer of what must succeed."""
    async with http.post(path, json=body, headers=headers) as response:
        answer: dict[str, Any] = await response.json(content_type=None)
        assert response.status in {200, 201}, answer
        return answer


def _through(address: str, port: int, other: int | None) -> str:
    return address if other is None else address.replace(f":{port}", f":{other}")
