"""A whole runtime inside the test's own event loop, for tests of what clients cannot see."""

import asyncio
import hashlib
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from shutil import copytree
from tempfile import mkdtemp
from typing import Any

from bulkhead_api.runtime_config import PackageDocument, ProviderConfig
from bulkhead_api.v1alpha1.models import ModelPrice
from bulkhead_runtime.events.port import Event
from bulkhead_runtime.kernel.context import Principal
from bulkhead_runtime.kernel.execution import discard
from bulkhead_runtime.kernel.requests import Caller, Repeatable, TurnRequest
from bulkhead_runtime.kernel.turns import TurnResult
from bulkhead_runtime.runtime import Runtime
from bulkhead_runtime.settings import Settings
from bulkhead_runtime.store.of_record import StoreOfRecord
from bulkhead_runtime.store.postgres.signals import Signals
from bulkhead_runtime.store.records import EventFilter
from bulkhead_runtime.store.spending import RepeatedAnswer
from bulkhead_runtime.stores import Stores
from bulkhead_runtime.telemetry.trace import continue_trace
from tests.support.runtime_process import RuntimeFiles, configuration, document
from tests.support.stub_provider import StubProvider

ALICE = Principal("alice", frozenset({"*"}), "alice-key")
PRICED = {"inputPerMillion": "1", "outputPerMillion": "2"}
"""What a token of the stub's models costs where a test says so: 1 and 2 millionths of a dollar."""


class Trips:
    """The store itself; only counts how often it is asked."""

    def __init__(self, store: StoreOfRecord) -> None:
        self.store = store
        self.counts: Counter[str] = Counter()

    def __getattr__(self, name: str) -> Any:
        found = getattr(self.store, name)
        if callable(found):
            self.counts[name] += 1
        return found


def data_of(directory: Path) -> Path:
    """Return the volume that all runtimes in `directory` share."""
    return directory / "data"


@dataclass(frozen=True)
class Shared:
    """An organization on PostgreSQL, and with `redis` on Redis, whose Secrets lie in `mounted`."""

    organization: str
    mounted: Path
    redis: bool

    def settings(self, files: RuntimeFiles) -> dict[str, Any]:
        """Mount the Secrets as one replica sees them; return the settings that go with them."""
        copytree(self.mounted, files.directory / "secrets", dirs_exist_ok=True)
        return {"organization": self.organization, "store": "postgres", "redis": self.redis}


@asynccontextmanager
async def running(
    directory: Path,
    *documents: PackageDocument,
    store: StoreOfRecord | None = None,
    stores: Stores | None = None,
    prices: tuple[ModelPrice, ...] = (),
    shared: Shared | None = None,
    pod_ip: str = "",
    **sections: Any,
) -> AsyncIterator[Runtime]:
    """Run a runtime that follows these documents; more words are parts of its configuration.

    Several in one directory, at once or after each other, share its volume, or the `shared` store.
    An embedded `store`, or any `stores`, stand in for what it would open itself.
    """
    files = RuntimeFiles(Path(mkdtemp(dir=directory)))
    place = {"organization": "acme"} if shared is None else shared.settings(files)
    sections["organization"] = place["organization"]
    served = documents or (document(),)
    config = configuration(*((one, 100) for one in served), **sections)
    models = config.models.model_copy(update={"prices": prices})
    files.config.configure(config.model_copy(update={"models": models}).with_hash(), *served)
    settings = Settings(
        **place,
        runtime_id="rt-test",
        config_directory=files.config.directory,
        data_directory=data_of(directory),
        secrets_directory=files.directory / "secrets",
        documents_directory=files.directory / "documents",
        scratch_directory=files.directory / "scratch",
        pod_ip=pod_ip,
    )
    runtime = Runtime(settings, stores if store is None else Stores(store, Signals()))
    await runtime.start()
    try:
        yield runtime
    finally:
        await runtime.close()


def stubbed(stub: StubProvider, mode: str, **fields: Any) -> dict[str, Any]:
    """Configuration whose default model is the stub in a mode, with a price unless told not to."""
    model = f"stub/{mode}"
    provider = ProviderConfig(name="stub", type="OpenAICompatible", base_url=stub.base_url)
    prices = (ModelPrice.model_validate({"model": model, **PRICED}),)
    return {"default_model": model, "providers": (provider,), "prices": prices, **fields}


def caller(principal: Principal = ALICE, repeatable: Repeatable | None = None) -> Caller:
    """Somebody who asks."""
    return Caller(principal, "req_test", continue_trace(None), repeatable=repeatable)


def repeatable(key: str, body: str = "body") -> Repeatable:
    """An idempotency key whose answer is the turn's text."""
    return Repeatable(
        key=key,
        route="POST /v1/agents/assistant/execute",
        content=hashlib.sha256(body.encode()).hexdigest(),
        answer=lambda result: RepeatedAnswer(200, "text/plain", result.answer.encode()),
        failure=lambda problem: RepeatedAnswer(problem.status, "text/plain", problem.code.encode()),
    )


async def heard(runtime: Runtime, *types: str) -> list[Event]:
    """Return the first event of each of these types, in order; fail when one does not come."""
    found: dict[str, Event] = {}
    async with asyncio.timeout(60), aclosing(runtime.events.follow(EventFilter(types))) as events:
        async for stored in events:
            if stored is not None:
                found.setdefault(stored.event.type, stored.event)
            if len(found) == len(types):
                break
    return list(found.values())


async def say(
    runtime: Runtime,
    message: str,
    session_id: str | None = None,
    *,
    key: Repeatable | None = None,
    principal: Principal = ALICE,
    to: str = "assistant",
) -> TurnResult:
    """Send one message to an agent."""
    request = TurnRequest(
        agent=to, message=message, caller=caller(principal, key), session_id=session_id
    )
    return await runtime.turns.execute(request, discard)
