"""Git decides what runs: commits, bad commits, reverts, and two who apply in different ways."""

import asyncio
import time
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import pytest

from bulkhead_api.names import FIELD_MANAGER
from tests.e2e.conftest import Organizations
from tests.support import argocd
from tests.support.api_observer import Object
from tests.support.audit import Writes
from tests.support.cluster import ROOT, Endpoint, Kubectl, package, settled
from tests.support.deadline import until
from tests.support.git import Agent, Repository, following
from tests.support.kstatus import assert_sane, kstatus
from tests.support.load import talking
from tests.support.timeline import recorded

NAMESPACE = "org-piedpiper"
PACKAGE = ("agentpackage/assistant", "-n", NAMESPACE, "--show-managed-fields")
FLUX = "kustomize-controller"
_HEALTH = ROOT / "contrib/argocd/resource_customizations/bulkhead.dev/AgentPackage/health.lua"


@pytest.fixture
def quiet_seconds(request: pytest.FixtureRequest) -> float:
    seconds: int = request.config.getoption("--quiet-seconds")
    return seconds


@pytest.fixture
def piedpiper(kubectl: Kubectl, organizations: Organizations) -> Endpoint:
    """An organization without packages: they come from Git."""
    organizations.empty("piedpiper")
    kubectl("wait", "--for=condition=Ready", "orgrt/piedpiper", "--timeout=120s")
    return Endpoint.of("piedpiper")


def _checked(version: str, *, says: str | None = None) -> dict[str, Any]:
    """Return a package that takes over in two steps if its answer names the version `says`."""
    manifest = package(NAMESPACE, version)
    prompt = {
        "agent": "assistant",
        "message": "Who are you?",
        "contains": [f"version {says or version}"],
    }
    manifest["spec"] |= {
        "healthChecks": [{"name": "names-its-version", "prompt": prompt, "attempts": 1}],
        "rollout": {"strategy": "Canary", "steps": [{"weight": 50, "pauseSeconds": 1}]},
    }
    return manifest


def _in_argo_cd(live: Object) -> str:
    told: dict[str, str] = argocd.run(_HEALTH.read_text(), live)
    return told["status"]


def _reads(kubectl: Kubectl, version: str, reading: str) -> bool:
    """Tell whether Helm, Flux and kubectl read that of the package in that version."""
    found = kubectl.get(*PACKAGE, "--ignore-not-found")
    return bool(found and found["spec"]["version"] == version and kstatus(found) == reading)


async def _delivered(
    kubectl: Kubectl, repository: Repository, agent: Agent, manifest: dict[str, Any]
) -> None:
    version = manifest["spec"]["version"]
    repository.commit("assistant.json", manifest)
    await agent.sync()
    await settled(lambda: _reads(kubectl, version, "Current"), f"version {version} is in service")


async def test_a_commit_deploys_and_a_bad_one_is_taken_back_until_git_takes_it_back(
    kubectl: Kubectl, piedpiper: Endpoint, tmp_path: Path, quiet_seconds: float
) -> None:
    repository = Repository(tmp_path / "repository")
    async with (
        recorded(kubectl.kubeconfig, NAMESPACE, "assistant") as seen,
        following(repository, kubectl.kubeconfig, NAMESPACE, tmp_path / "agent.log") as agent,
    ):
        deploying = Writes(NAMESPACE)
        for version in ("1.0.0", "2.0.0"):
            await _delivered(kubectl, repository, agent, _checked(version))
            assert (await piedpiper.execute("Hello."))["version"] == version
        assert any("agentpackages" in write for write in deploying.made())

        async with talking(piedpiper) as talk:
            repository.commit("assistant.json", _checked("3.0.0", says="4.0.0"))
            await agent.sync()
            await settled(lambda: _reads(kubectl, "3.0.0", "Failed"), "version 3.0.0 is taken back")
        assert talk.failures == []
        assert set(talk.versions) == {"2.0.0"}

        await _nobody_writes(agent, quiet_seconds)
        live = kubectl.get(*PACKAGE)
        assert (live["spec"]["version"], live["status"]["version"]) == ("3.0.0", "2.0.0")
        assert _in_argo_cd(live) == "Degraded"
        _assert_that_git_owns_the_spec(live)

        repository.revert()
        await agent.sync()
        await settled(lambda: _reads(kubectl, "2.0.0", "Current"), "version 2.0.0 is wanted again")
        assert (await piedpiper.execute("Hello."))["version"] == "2.0.0"
    _assert_that_nobody_was_misled(seen)


async def _nobody_writes(agent: Agent, seconds: float) -> None:
    """Let the agent look again and again at what it cannot have, until nobody wrote for so long.

    What follows from taking the version back may be written a moment after it is said.
    """
    writes, since, all_made = Writes(NAMESPACE), time.monotonic(), list[str]()

    async def quiet() -> bool:
        nonlocal writes, since
        await agent.sync()
        if made := [one for one in await asyncio.to_thread(writes.made) if _disagrees(one)]:
            writes, since = Writes(NAMESPACE), time.monotonic()
            all_made.extend(made)
        return time.monotonic() - since > seconds

    try:
        await until(quiet, f"nobody writes for {seconds:g} s", 4 * seconds)
    except AssertionError as error:
        raise AssertionError(f"{error}: {all_made}") from None


def _disagrees(write: str) -> bool:
    """Tell whether a write may be one of two who disagree.

    How full a pool is, is written down once a minute while it changes; kubelet and controllers only
    tell what became of others' wishes.
    """
    answering = ("system:node:", "system:kube-", "system:serviceaccount:kube-system:")
    return "memorypools" not in write and not write.startswith(answering)


def _assert_that_git_owns_the_spec(live: Object) -> None:
    """What the operator wrote is the status and nothing else, whoever looks at managedFields."""
    owned = {
        (entry["manager"], entry.get("subresource", ""))
        for entry in live["metadata"]["managedFields"]
    }
    assert {subresource for manager, subresource in owned if manager == FIELD_MANAGER} == {"status"}
    assert any(manager != FIELD_MANAGER for manager, _ in owned)


def _assert_that_nobody_was_misled(seen: Sequence[Object]) -> None:
    """Every status that was ever shown is sane, and tools read of it what was true."""
    readings = []
    for live in seen:
        if live["status"].get("conditions"):
            assert_sane(live)
        readings.append((live["spec"]["version"], kstatus(live), _in_argo_cd(live)))
    assert [reading for reading, _ in groupby(readings)] == [
        ("1.0.0", "InProgress", "Progressing"),
        ("1.0.0", "Current", "Healthy"),
        ("2.0.0", "InProgress", "Progressing"),
        ("2.0.0", "Current", "Healthy"),
        ("3.0.0", "InProgress", "Progressing"),
        ("3.0.0", "Failed", "Degraded"),
        ("2.0.0", "InProgress", "Progressing"),
        ("2.0.0", "Current", "Healthy"),
    ]


def _clerk() -> dict[str, Any]:
    manifest = package(NAMESPACE)
    manifest["metadata"]["name"] = manifest["spec"]["agents"][0]["name"] = "clerk"
    return manifest


async def test_flux_applies_without_conflicts_and_prunes_what_git_no_longer_has(
    kubectl: Kubectl, piedpiper: Endpoint, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("KUBECTL_APPLYSET", "true")
    kubectl.apply_as(FLUX, NAMESPACE, package(NAMESPACE, "1.0.0"), _clerk())
    await settled(lambda: _reads(kubectl, "1.0.0", "Current"), "version 1.0.0 is in service")
    kubectl("wait", "--for=condition=Ready", "agpkg/clerk", "-n", NAMESPACE, "--timeout=120s")
    children = kubectl("get", "configmaps,services,deployments", "-n", NAMESPACE, "-o", "name")

    kubectl.apply_as(FLUX, NAMESPACE, package(NAMESPACE, "2.0.0"))
    await settled(lambda: _reads(kubectl, "2.0.0", "Current"), "version 2.0.0 is in service")
    assert not kubectl.exists("agpkg/clerk", "-n", NAMESPACE)
    await until(lambda: _is_gone(piedpiper, "clerk"), "the agent of the pruned package is gone")
    assert children == kubectl(
        "get", "configmaps,services,deployments", "-n", NAMESPACE, "-o", "name"
    )

    # The operator may still have something to say of the version that went.
    await settled(lambda: _changes_nothing(kubectl), "the same again is no write")
    live = kubectl.get(*PACKAGE)
    owners = {entry["manager"]: entry for entry in live["metadata"]["managedFields"]}
    assert owners[FLUX]["operation"] == "Apply"
    _assert_that_git_owns_the_spec(live)


def _changes_nothing(kubectl: Kubectl) -> bool:
    """Apply three times what is there; tells whether nothing was written meanwhile."""
    before = kubectl.get(*PACKAGE)["metadata"]["resourceVersion"]
    for _ in range(3):
        kubectl.apply_as(FLUX, NAMESPACE, package(NAMESPACE, "2.0.0"))
    return bool(kubectl.get(*PACKAGE)["metadata"]["resourceVersion"] == before)


async def _is_gone(endpoint: Endpoint, agent: str) -> bool:
    async with (
        endpoint.session() as session,
        session.post(f"/v1/agents/{agent}/execute", json={"message": "Hello?"}) as response,
    ):
        return response.status == 404
