"""Versions whose content lies in a registry, in a running runtime."""

import shutil
from collections.abc import Iterator
from typing import Any

import pytest

from bulkhead_api.package_manifest import PackageManifest
from bulkhead_api.runtime_config import PackageContent, PackageDocument, RuntimeConfig
from bulkhead_api.v1alpha1.tools import Tools
from bulkhead_operator.packaging.artifact import digest_of
from bulkhead_runtime.packages.sources import retry_seconds
from tests.support.deadline import until
from tests.support.runtime.oci_registry import (
    PRIVATE_ADDRESS,
    OciRegistry,
    lent_address,
    oci_registry,
)
from tests.support.runtime.rollouts import ask, settled, state
from tests.support.runtime_process import (
    RuntimeFiles,
    RuntimeProcess,
    agent,
    client,
    configuration,
    document,
)

OPENED = Tools.model_validate({"privateHosts": [PRIVATE_ADDRESS]})


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with lent_address() as lent:
        yield lent


@pytest.fixture
def registry(address: str) -> Iterator[OciRegistry]:
    with oci_registry(address) as running:
        yield running


@pytest.fixture
def guarded(address: str) -> Iterator[OciRegistry]:
    with oci_registry(address, guarded=True) as running:
        yield running


def manifest(version: str = "2.0.0") -> PackageManifest:
    """A version of the package, with the assistant."""
    return PackageManifest.of("helper", version, (agent(),), ())


def pinned(reference: str, version: str = "2.0.0", **source: Any) -> PackageDocument:
    """What the operator writes of a version that lies in a registry."""
    content = {
        "oci": {"reference": reference, **source},
        "executionConfig": {"timeoutSeconds": 7},
    }
    return PackageDocument.holding("helper", version, PackageContent.model_validate(content))


async def _answered(runtime: RuntimeProcess) -> str:
    async with (
        client(runtime) as http,
        http.post("/v1/agents/assistant/execute", json={"message": "hi"}) as response,
    ):
        assert response.status == 200, await response.text()
        version: str = (await response.json())["version"]
        return version


def test_a_registry_that_stays_away_is_asked_ever_more_rarely() -> None:
    pauses = [retry_seconds(times) for times in (1, 3, 6, 50)]
    assert pauses == sorted(pauses)
    assert 3 < pauses[0] <= 5
    assert 200 < pauses[-1] <= 300


async def test_a_version_from_a_registry_takes_over_and_survives_the_registry(
    files: RuntimeFiles, registry: OciRegistry
) -> None:
    ask(files, (document(), 100), nonces={}, tools=OPENED)
    taken = pinned(await registry.push(manifest()))
    with RuntimeProcess(files) as runtime:
        config = ask(files, (document(), 0), (taken, 100), nonces={"2.0.0": "a"}, tools=OPENED)
        told = await settled(runtime, config)
        assert await _answered(runtime) == "2.0.0"
    registry.stop()
    with RuntimeProcess(files) as restarted:
        await settled(restarted, config)
        assert await _answered(restarted) == "2.0.0"
    loaded = {one.version: one for one in told.versions}
    assert (loaded["2.0.0"].checksum, loaded["2.0.0"].agents) == (taken.checksum, ("assistant",))
    assert [report.verdict for report in told.checks] == ["Passed"]
    assert told.refusals == ()


async def _refusal(runtime: RuntimeProcess, config: RuntimeConfig) -> tuple[str, str]:
    told = await state(runtime, f"?hash={config.hash}&waitSeconds=30")
    (refusal,) = told.refusals
    return refusal.what, refusal.message


async def test_a_version_that_is_tampered_with_never_serves(
    files: RuntimeFiles, registry: OciRegistry
) -> None:
    good = ask(files, (document(), 100), nonces={}, tools=OPENED)
    reference = await registry.push(manifest())
    registry.tamper(digest_of(manifest().written()))
    with RuntimeProcess(files) as runtime:
        taken = pinned(reference)
        bad = ask(files, (document(), 0), (taken, 100), nonces={}, tools=OPENED)
        what, message = await _refusal(runtime, bad)
        told = await state(runtime)
        assert await _answered(runtime) == "1.0.0"
    assert what == "package_helper_2.0.0.json"
    assert "damaged or tampered with" in message
    assert told.configuration_hash == good.hash


async def test_an_artifact_of_another_version_is_refused(
    files: RuntimeFiles, registry: OciRegistry
) -> None:
    reference = await registry.push(manifest("3.0.0"))
    config = ask(files, (pinned(reference), 100), nonces={}, tools=OPENED)
    with RuntimeProcess(files) as runtime:
        _, message = await _refusal(runtime, config)
    assert "it is helper 3.0.0, not helper 2.0.0" in message


async def test_a_version_without_new_sessions_keeps_nobody_back(
    files: RuntimeFiles, registry: OciRegistry
) -> None:
    lost = pinned(f"{registry.host}/agents/support@sha256:{'0' * 64}")
    config = ask(files, (document(), 100), (lost, 0), nonces={}, tools=OPENED)
    with RuntimeProcess(files) as runtime:
        told = await settled(runtime, config)
        assert await _answered(runtime) == "1.0.0"
    assert [one.version for one in told.versions] == ["1.0.0"]
    (refusal,) = told.refusals
    assert refusal.what == "package_helper_2.0.0.json"
    assert "answers with status 404" in refusal.message


async def test_a_pull_secret_that_comes_later_is_used_at_once(
    files: RuntimeFiles, guarded: OciRegistry
) -> None:
    folder = files.directory / "secrets" / "registries"
    folder.mkdir(parents=True)
    taken = pinned(await guarded.push(manifest()), pullSecretName="pull")
    config = ask(files, (taken, 100), nonces={}, tools=OPENED)
    with RuntimeProcess(files) as runtime:
        _, message = await _refusal(runtime, config)
        (folder / "pull").write_bytes(guarded.docker_config())

        async def followed() -> bool:
            return (await state(runtime)).configuration_hash == config.hash

        await until(followed, "the version is loaded")
        assert await _answered(runtime) == "2.0.0"
        logs = runtime.log_path.read_text()
    assert "is not mounted" in message
    assert "pull-secret-of-tests" not in logs


async def test_a_registry_on_the_machine_itself_may_not_be_asked(
    files: RuntimeFiles, registry: OciRegistry
) -> None:
    reference = (await registry.push(manifest())).partition(":")[2]
    local = ask(files, (pinned(f"127.0.0.1:{reference}"), 100), nonces={})
    with RuntimeProcess(files) as runtime:
        _, message = await _refusal(runtime, local)
    assert "leads to an address that is not public" in message


async def test_a_volume_without_what_was_kept_is_filled_again(
    files: RuntimeFiles, registry: OciRegistry
) -> None:
    config = configuration((pinned(await registry.push(manifest())), 100), tools=OPENED)
    taken = pinned(await registry.push(manifest()))
    files.config.configure(config, taken)
    with RuntimeProcess(files) as runtime:
        await settled(runtime, config)
    shutil.rmtree(files.data / "packages")
    with RuntimeProcess(files) as runtime:
        await settled(runtime, config)
    assert len(list((files.data / "packages").iterdir())) == 2
