"""A real runtime process over real files, for tests that talk to it as clients do."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Protocol, Self

import aiohttp

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
from tests.support.ports import free_port

REPOSITORY = Path(__file__).resolve().parents[2]
START_SECONDS = 90.0
KEY = "bh_test-key"
INTERNAL_TOKEN = "bh_internal-token"
ORGANIZATION = "acme"


def agent(name: str = "assistant", **fields: Any) -> Agent:
    """An agent on the offline model, with any field replaced."""
    return Agent.model_validate({"name": name, **fields})


def document(version: str = "1.0.0", *agents: Agent, package: str = "helper") -> PackageDocument:
    """A version of the package, with the plain assistant unless told otherwise."""
    return PackageDocument.of(package, version, agents or (agent(),))


def configuration(
    *weighted: tuple[PackageDocument, int],
    limits: dict[str, int] | None = None,
    pool: dict[str, int] | None = None,
    providers: tuple[ProviderConfig, ...] = (),
    prices: tuple[ModelPrice, ...] = (),
    default_model: str = "offline/echo",
    organization: str = ORGANIZATION,
    endpoints: Mapping[str, str] | None = None,
    checks: Mapping[str, str] | None = None,
    **sections: Any,
) -> RuntimeConfig:
    """What the operator would write for these documents, weights and sections of the spec.

    `endpoints` are where the images of versions answer, `checks` what asks for their health
    checks, both by version.
    """
    routes: dict[str, list[VersionRoute]] = {}
    for item, weight in weighted:
        route = VersionRoute(
            version=item.version,
            checksum=item.checksum,
            weight=weight,
            check=(checks or {}).get(item.version, ""),
            endpoint=(endpoints or {}).get(item.version, ""),
        )
        routes.setdefault(item.package, []).append(route)
    return RuntimeConfig(
        organization=organization,
        runtime_id="rt-test",
        limits=Limits.model_validate({"rateLimitPerMinute": 1_000_000, **(limits or {})}),
        models=ModelsConfig(default=default_model, providers=providers, prices=prices),
        pool=PoolConfig.model_validate({"name": "default", "maxMemoryMB": 64, **(pool or {})}),
        routes=tuple(
            PackageRoute(package=package, versions=tuple(versions))
            for package, versions in routes.items()
        ),
        **sections,
    ).with_hash()


class Mount:
    """A folder that changes as the kubelet changes a projected volume: by one rename of a link."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        directory.mkdir(parents=True, exist_ok=True)
        self._count = sum(one.is_dir() and not one.is_symlink() for one in directory.iterdir())

    def switch(self, files: dict[str, bytes]) -> None:
        self._count += 1
        target = self.directory / f"..{self._count}"
        target.mkdir()
        for name, content in files.items():
            (target / name).write_bytes(content)
            visible = self.directory / name
            if not visible.is_symlink():
                visible.symlink_to(Path("..data") / name)
        temporary = self.directory / "..data_tmp"
        temporary.symlink_to(target.name)
        temporary.rename(self.directory / "..data")

    def configure(self, config: RuntimeConfig, *documents: PackageDocument) -> None:
        files = {"config.json": config.model_dump_json(by_alias=True).encode()}
        for item in documents:
            name = f"package_{item.package}_{item.version}.json"
            files[name] = item.model_dump_json(by_alias=True).encode()
        self.switch(files)


@dataclass
class RuntimeFiles:
    """The folders of one organization; several processes may share them."""

    directory: Path
    config: Mount = field(init=False)
    api_key: Mount = field(init=False)
    internal: Mount = field(init=False)
    providers: Mount = field(init=False)
    api_keys: Mount = field(init=False)

    def __post_init__(self) -> None:
        self.config = Mount(self.directory / "config")
        secrets = self.directory / "secrets"
        self.api_key = Mount(secrets / "api-key")
        self.internal = Mount(secrets / "internal")
        self.providers = Mount(secrets / "providers")
        self.api_keys = Mount(secrets / "api-keys")
        self.api_key.switch({"token": KEY.encode()})
        self.internal.switch({"token": INTERNAL_TOKEN.encode()})

    @property
    def data(self) -> Path:
        return self.directory / "data"

    def follow(self, *weighted: tuple[PackageDocument, int], **options: Any) -> RuntimeConfig:
        config = configuration(*weighted, **options)
        self.config.configure(config, *(item for item, _ in weighted))
        return config


class RunningProcess(Protocol):
    """A process, however it was started."""

    @property
    def pid(self) -> int: ...

    def poll(self) -> int | None: ...

    def wait(self, timeout: float | None = None) -> int: ...

    def kill(self) -> None: ...

    def send_signal(self, number: int, /) -> None: ...


Starter = Callable[[str, dict[str, str], IO[bytes]], RunningProcess]
"""Runs a module with an environment and a standard error."""


def _start(module: str, variables: dict[str, str], log: IO[bytes]) -> RunningProcess:
    return subprocess.Popen([sys.executable, "-m", module], env=variables, stderr=log)


class RuntimeProcess:
    """`python -m bulkhead_runtime`, or another module that runs it, on free ports."""

    def __init__(
        self,
        files: RuntimeFiles,
        *,
        drain_seconds: float = 0.0,
        environment: dict[str, str] | None = None,
        module: str = "bulkhead_runtime",
        start: Starter = _start,
    ) -> None:
        self.files = files
        self.port = free_port()
        self.internal_port = free_port()
        self.log_path = files.directory / f"log-{self.port}.jsonl"
        self._log = self.log_path.open("wb")
        variables = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join(
                str(REPOSITORY / part) for part in ("crds", "runtime_image", ".")
            ),
            "BULKHEAD_ORGANIZATION": ORGANIZATION,
            "BULKHEAD_RUNTIME_ID": "rt-test",
            "BULKHEAD_DRAIN_SECONDS": str(drain_seconds),
            "BULKHEAD_CONFIG_DIRECTORY": str(files.config.directory),
            "BULKHEAD_DATA_DIRECTORY": str(files.data),
            "BULKHEAD_SCRATCH_DIRECTORY": str(files.directory / "scratch"),
            "BULKHEAD_SECRETS_DIRECTORY": str(files.directory / "secrets"),
            "BULKHEAD_HOST": "127.0.0.1",
            "BULKHEAD_PUBLIC_PORT": str(self.port),
            "BULKHEAD_INTERNAL_PORT": str(self.internal_port),
            **(environment or {}),
        }
        self.process = start(module, variables, self._log)

    def __enter__(self) -> Self:
        try:
            self.wait_until_listening()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()
        self._log.close()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def internal_url(self) -> str:
        return f"http://127.0.0.1:{self.internal_port}"

    def wait_until_listening(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                raise AssertionError(f"the runtime ended early: {self.log_path.read_text()}")
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            time.sleep(0.02)
        raise AssertionError(f"the runtime does not listen: {self.log_path.read_text()}")

    def terminate(self) -> None:
        self.process.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()

    def logs(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.log_path.read_text().splitlines() if line]


def client(
    runtime: RuntimeProcess, *, key: str | None = KEY, **options: Any
) -> aiohttp.ClientSession:
    """A client of the public port that shows the key."""
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    return aiohttp.ClientSession(runtime.url, headers=headers, **options)
