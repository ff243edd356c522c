"""Starts the runtime, its references and the stub provider behind them, ready to be asked."""

import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bulkhead_api import names
from bulkhead_api.runtime_config import (
    ModelsConfig,
    PackageDocument,
    PackageRoute,
    PoolConfig,
    ProviderConfig,
    RuntimeConfig,
    VersionRoute,
)
from bulkhead_api.v1alpha1.agent_package import Agent
from bulkhead_api.v1alpha1.models import ModelPrice
from bulkhead_api.v1alpha1.organization_runtime import Limits
from tests.cluster.places import ROOT
from tests.performance.harness.processes import Process, free_port, listens, started

PYTHON = ROOT / ".venv-runtime" / "bin" / "python"
CHUNKS = 100
STREAM_MODEL = f"words;chunks={CHUNKS}"
TURN_CHUNKS = 20
TURN_MODEL = f"words;chunks={TURN_CHUNKS}"
OPEN_CHUNKS = 20
OPEN_MODEL = f"words;chunks={OPEN_CHUNKS};delay_ms=500"
HELD_MODEL = "hang"
"""What the stub provider says, by the name of its model; OPEN_MODEL takes ten seconds, HELD_MODEL
says one word and then nothing."""

INSTRUCTIONS = "You are the assistant of a small company. Answer briefly and to the point."
_ORGANIZATION = "bench"
# Bounds that no benchmark is meant to meet.
_LIMITS = Limits(
    max_concurrent_agents=1000,
    max_queue_size=10000,
    max_parallel_sessions=1000,
    max_sessions_per_principal=1_000_000,
    session_creations_per_minute=1_000_000,
    rate_limit_per_minute=1000000,
    max_memory_mb=4096,
    max_cpu_percent=400,
)
_POOL_MB = 8192
# A request's cost is always bounded, so every model needs a price.
_PRICES = tuple(
    ModelPrice(model=f"stub/{model}", input_per_million="0.15", output_per_million="0.60")
    for model in (STREAM_MODEL, TURN_MODEL, OPEN_MODEL, HELD_MODEL)
)


@dataclass(frozen=True)
class Server:
    """A server that answers, and what a client of it needs."""

    process: Process
    port: int
    key_file: Path
    model: str

    @property
    def url(self) -> str:
        """Return where it answers."""
        return f"http://127.0.0.1:{self.port}"

    def listens(self) -> bool:
        """Tell whether it accepts connections."""
        return listens(self.port)


@contextmanager
def stub_provider(directory: Path) -> Iterator[str]:
    """Run the stub provider; yields the base URL that clients of OpenAI's API want."""
    port = free_port()
    argv: list[str | Path] = [PYTHON, "-m", "tests.support.stub_provider", "--port", str(port)]
    with started("stub", argv, directory, environment={"PYTHONPATH": str(ROOT)}) as process:
        process.wait_for("its port", lambda: listens(port))
        yield f"http://127.0.0.1:{port}/v1"


@contextmanager
def reference(module: str, directory: Path, upstream: str, **environment: str) -> Iterator[Server]:
    """Run one of the reference servers."""
    argv, settings, server_of = prepare_reference(module, directory, upstream)
    with started(module, argv, directory, environment={**settings, **environment}) as process:
        server = server_of(process)
        process.wait_for("its port", server.listens)
        yield server


def prepare_reference(
    module: str, directory: Path, upstream: str
) -> tuple[list[str | Path], dict[str, str], "_ServerOf"]:
    """Return a reference's command, as its users run it, its environment and how to reach it."""
    port = free_port()
    key_file = _key(directory / f"{module}.key")
    argv: list[str | Path] = [PYTHON, "-m", "uvicorn", f"tests.performance.references.{module}:app"]
    argv += ["--port", str(port), "--loop", "uvloop", "--http", "httptools"]
    argv += ["--log-level", "warning"]
    environment = {
        "PYTHONPATH": str(ROOT),
        "UPSTREAM_URL": upstream,
        "UPSTREAM_KEY": "stub",
        "API_KEY": key_file.read_text(),
    }
    return argv, environment, _ServerOf(port, key_file, STREAM_MODEL)


@contextmanager
def runtime(
    directory: Path,
    upstream: str | None = None,
    *,
    entry: str = "bulkhead_runtime",
    model: str = TURN_MODEL,
    **further: Any,
) -> Iterator[Server]:
    """Run the runtime on a configuration as the operator mounts it, with `further` parts of it.

    `entry` is the module that is run, `model` what the agent answers with.
    """
    argv, environment, server_of = prepare_runtime(directory, upstream, model=model, **further)
    environment["PYTHONPATH"] += f":{ROOT}"
    argv = [PYTHON, "-m", entry]
    with started("runtime", argv, directory, environment=environment) as process:
        server = server_of(process)
        process.wait_for("its port", server.listens)
        yield server


@dataclass(frozen=True)
class _ServerOf:
    """Makes the Server once the process is there."""

    port: int
    key_file: Path
    model: str

    def __call__(self, process: Process) -> Server:
        return Server(process, self.port, self.key_file, self.model)


def prepare_runtime(
    directory: Path, upstream: str | None, *, model: str = TURN_MODEL, **further: Any
) -> tuple[list[str | Path], dict[str, str], _ServerOf]:
    """Write a runtime's files; returns its command, its environment and how to reach it."""
    port = free_port()
    secrets_directory = directory / "secrets"
    _write_configuration(directory / "config", upstream, model, further)
    key_file = _key(secrets_directory / "api-key" / names.TOKEN_FIELD)
    _key(secrets_directory / "internal" / names.TOKEN_FIELD)
    (secrets_directory / "providers").mkdir(exist_ok=True)
    (secrets_directory / "providers" / "stub").write_text("stub")
    (directory / "data").mkdir(exist_ok=True)
    environment = {
        "PYTHONPATH": f"{ROOT / 'crds'}:{ROOT / 'runtime_image'}",
        "BULKHEAD_ORGANIZATION": _ORGANIZATION,
        "BULKHEAD_RUNTIME_ID": "rt-bench",
        "BULKHEAD_CONFIG_DIRECTORY": str(directory / "config"),
        "BULKHEAD_DATA_DIRECTORY": str(directory / "data"),
        "BULKHEAD_SECRETS_DIRECTORY": str(secrets_directory),
        "BULKHEAD_HOST": "127.0.0.1",
        "BULKHEAD_PUBLIC_PORT": str(port),
        "BULKHEAD_INTERNAL_PORT": str(free_port()),
        "BULKHEAD_DRAIN_SECONDS": "0",
    }
    model = names.OFFLINE_MODEL if upstream is None else f"stub/{STREAM_MODEL}"
    return [PYTHON, "-m", "bulkhead_runtime"], environment, _ServerOf(port, key_file, model)


def _write_configuration(
    folder: Path, upstream: str | None, agents_model: str, further: Mapping[str, Any]
) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    providers: tuple[ProviderConfig, ...] = ()
    default = names.OFFLINE_MODEL
    if upstream is not None:
        stub = ProviderConfig(
            name="stub", type="OpenAICompatible", base_url=upstream, has_credentials=True
        )
        providers, default = (stub,), f"stub/{agents_model}"
    agent = Agent(name="assistant", instructions=INSTRUCTIONS, tools=("current_time",))
    document = PackageDocument.of("assistant", "1.0.0", (agent,))
    version = VersionRoute(version="1.0.0", checksum=document.checksum, weight=100)
    config = RuntimeConfig(
        organization=_ORGANIZATION,
        runtime_id="rt-bench",
        limits=_LIMITS,
        models=ModelsConfig(default=default, providers=providers, prices=_PRICES),
        pool=PoolConfig(name=names.DEFAULT_POOL, max_memory_mb=_POOL_MB),
        routes=(PackageRoute(package="assistant", versions=(version,)),),
        **further,
    ).with_hash()
    (folder / names.CONFIG_FILE).write_text(config.model_dump_json(by_alias=True))
    target = folder / names.package_key("assistant", "1.0.0")
    target.write_text(document.model_dump_json(by_alias=True))


def _key(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(secrets.token_urlsafe(24))
    path.chmod(0o600)
    return path
