"""What the operator does to a runtime during a rollout: asks for checks, reads what it measured."""

from typing import Any

import aiohttp

from bulkhead_api.runtime_config import PackageDocument, RuntimeConfig
from bulkhead_api.runtime_state import CheckReport, Measurement, RuntimeState
from tests.support.runtime_process import (
    INTERNAL_TOKEN,
    RuntimeFiles,
    RuntimeProcess,
    configuration,
)


def asking(config: RuntimeConfig, nonces: dict[str, str]) -> RuntimeConfig:
    """Return the configuration that asks for checks of these versions, under these nonces."""
    routes = tuple(
        route.model_copy(
            update={
                "versions": tuple(
                    version.model_copy(update={"check": nonces.get(version.version, "")})
                    for version in route.versions
                )
            }
        )
        for route in config.routes
    )
    return config.model_copy(update={"routes": routes}).with_hash()


def ask(
    files: RuntimeFiles,
    *weighted: tuple[PackageDocument, int],
    nonces: dict[str, str],
    **options: Any,
) -> RuntimeConfig:
    """Have these versions followed, and these of them checked."""
    config = asking(configuration(*weighted, **options), nonces)
    files.config.configure(config, *(item for item, _ in weighted))
    return config


async def state(runtime: RuntimeProcess, query: str = "") -> RuntimeState:
    """Return what the runtime tells the operator."""
    headers = {"Authorization": f"Bearer {INTERNAL_TOKEN}"}
    async with (
        aiohttp.ClientSession(runtime.internal_url, headers=headers) as http,
        http.get(f"/internal/state{query}") as response,
    ):
        assert response.status == 200, await response.text()
        return RuntimeState.model_validate(await response.json())


async def settled(
    runtime: RuntimeProcess, config: RuntimeConfig, seconds: int = 30
) -> RuntimeState:
    """Return what it tells once it follows a configuration and no check runs any more."""
    told = await state(runtime, f"?hash={config.hash}&waitSeconds=30")
    assert told.configuration_hash == config.hash, told.refusals
    return told


def report_of(told: RuntimeState, version: str) -> CheckReport:
    """Return what the checks of a version said."""
    return next(one for one in told.checks if one.version == version)


async def measured(runtime: RuntimeProcess, version: str) -> Measurement:
    """Return what was counted of a version."""
    told = await state(runtime, "?include=measurements")
    return next(one for one in told.measurements if one.version == version)
