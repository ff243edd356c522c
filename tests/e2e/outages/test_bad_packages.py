"""Each kind of bad package on the real cluster, while the operator's leader dies on the way.

A version is in service and tenants talk to it; the bad one is asked for and the leader is killed,
by SIGKILL, in the middle. The next leader ends at the last good version within two minutes, and the
same version comes into service once what was wrong is mended, or a corrected one where its content
is wrong. Every kind is visited with BULKHEAD_EVERY_FAULT=1, else the one that goes the longest way.
"""

import asyncio
import os
import time
from collections.abc import Callable, Iterator
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any, Final

import pytest

from tests.cluster.kubectl import Kubectl as ClusterKubectl
from tests.e2e.conftest import Organizations
from tests.e2e.outages.bad_packages import KINDS, NAME, NAMESPACE, Kind, Scene, organization_spec
from tests.performance.rows.stub_in_cluster import provider
from tests.support.cluster import Endpoint, Kubectl, settled
from tests.support.deadline import until
from tests.support.load import Talk, talking
from tests.support.operator_pods import SYSTEM, Container, kill, leader

EVERY: Final = bool(os.environ.get("BULKHEAD_EVERY_FAULT"))
VISITED: Final = [kind for kind in KINDS if EVERY or kind.name == "error-prone"]
SECONDS: Final = 120
"""Within which a bad version must be gone, whatever died."""

NEW_SESSIONS: Final = 20
"""As many as would not all miss a version that still had a share."""

_NUMBERS: Final = count(2)


@pytest.fixture(scope="module")
def scene(kubectl: Kubectl, lasting: Organizations) -> Iterator[Scene]:
    """An organization that serves version 1.0.0, and models that behave as they are asked to."""
    with provider(ClusterKubectl(Path(kubectl.kubeconfig))) as stub:
        lasting.empty(NAME, **organization_spec(stub))
        kubectl("wait", "--for=condition=Ready", f"orgrt/{NAME}", "--timeout=120s")
        made = Scene(kubectl, Endpoint.of(NAME), stub)
        made.deliver("1.0.0", {})
        kubectl("wait", "--for=condition=Ready", "agpkg/assistant", "-n", NAMESPACE,
                "--timeout=120s")  # fmt: skip
        asyncio.run(until(made.endpoint.answers, f"{made.endpoint.url} is routed"))
        yield made


@pytest.mark.parametrize("kind", VISITED, ids=[kind.name for kind in VISITED])
async def test_a_bad_package_is_taken_back_though_the_leader_dies_and_can_be_tried_again(
    scene: Scene, kind: Kind, record_property: Callable[[str, object], None]
) -> None:
    number = f"{next(_NUMBERS)}.0.0"
    serving = scene.live()["status"]["version"]
    tenants = 6 if kind.gets_sessions else 1
    async with talking(scene.endpoint, tenants=tenants, streams=1) as talk:
        await settled(lambda: talk.answered > tenants, "tenants are talking")
        await asyncio.to_thread(kind.spoil, scene, number)
        before = await _leading(scene)
        killed = await _killed_on_the_way(scene, kind, number, before)
        if kind.crashes:
            await _crashes_twice(scene, number, talk)
        await settled(lambda: _taken_back(scene, kind, before), "the bad version is gone", SECONDS)
    await until(scene.endpoint.answers, "the organization serves", SECONDS)
    await _serves_alone(scene, serving)
    seconds = time.monotonic() - killed
    assert seconds < SECONDS
    assert kind.hurts or talk.failures == []
    assert set(talk.versions) <= ({serving, number} if kind.gets_sessions else {serving})
    _assert_told(scene.live(), kind, number, serving)
    record_property("fault", (kind.name, kind.dies_in or "at once", kind.reason, f"{seconds:.1f}"))
    await _mended(scene, kind, number)


async def _leading(scene: Scene) -> str:
    """Return the leader's name once there is one that stays."""
    found = ""

    def stays() -> bool:
        nonlocal found
        found = leader(scene.kubectl)
        pods = scene.kubectl.get("pods", "-n", SYSTEM)["items"]
        staying = [pod for pod in pods if "deletionTimestamp" not in pod["metadata"]]
        return found in {pod["metadata"]["name"] for pod in staying}

    await settled(stays, "a replica leads")
    return found


async def _killed_on_the_way(scene: Scene, kind: Kind, number: str, leading: str) -> float:
    """Ask for the version and kill the leader in the middle; returns when that was."""
    victim = Container.of(scene.kubectl, SYSTEM, leading)
    await asyncio.to_thread(kind.deliver, scene, number)
    if kind.dies_in:
        phase = f"--for=jsonpath={{.status.rollout.phase}}={kind.dies_in}"
        await scene.kubectl.meanwhile(
            "wait", phase, "agpkg/assistant", "-n", NAMESPACE, "--timeout=120s"
        )
        assert scene.live()["status"]["rollout"]["target"]["version"] == number
    killed = time.monotonic()
    await asyncio.to_thread(kill, scene.kubectl, victim)
    return killed


async def _crashes_twice(scene: Scene, number: str, talk: Talk) -> None:
    """Let the runtime end under executions of the version, as if they had ended it."""
    former = ""
    for _ in range(2):
        await settled(partial(_is_another, scene, former), "the runtime was started", SECONDS)
        seen = len(talk.versions)
        await settled(partial(_answered, talk, seen, number), f"{number} is at work", SECONDS)
        container = _runtime(scene)
        container.kill()
        former = container.id


def _runtime(scene: Scene) -> Container:
    (pod,) = scene.kubectl.get(
        "pods", "-n", NAMESPACE, "-l", "app.kubernetes.io/component=runtime"
    )["items"]
    return Container.of(scene.kubectl, NAMESPACE, pod["metadata"]["name"])


def _is_another(scene: Scene, former: str) -> bool:
    return _runtime(scene).id != former


def _answered(talk: Talk, since: int, version: str) -> bool:
    return version in talk.versions[since:]


def _taken_back(scene: Scene, kind: Kind, before: str) -> bool:
    """Tell whether another leader has said why the version is not in service."""
    live = scene.live()
    seen = live["status"]["observedGeneration"] == live["metadata"]["generation"]
    told = _condition(live, "Stalled").get("reason") == kind.reason
    return seen and told and leader(scene.kubectl) not in ("", before)


async def _serves_alone(scene: Scene, version: str) -> None:
    asked = (scene.endpoint.execute("Who answers?") for _ in range(NEW_SESSIONS))
    answers = await asyncio.gather(*asked)
    assert {answer["version"] for answer in answers} == {version}


def _assert_told(live: dict[str, Any], kind: Kind, number: str, serving: str) -> None:
    """Conditions, history and shares tell the same: this version not, and why, but the former."""
    status = live["status"]
    shares = {one["version"]: one["weight"] for one in status["versions"] if one["weight"]}
    assert (live["spec"]["version"], status["version"], shares) == (number, serving, {serving: 100})
    ready = _condition(live, "Ready")
    assert (ready["status"], ready["reason"]) == ("False", kind.reason)
    newest = status["history"][0]
    if kind.dies_in:
        assert (newest["version"], newest["outcome"]) == (number, kind.reason)
        assert status["rollout"]["phase"] == "Restored"
    else:
        assert (newest["version"], newest["outcome"]) == (serving, "Succeeded")


def _condition(live: dict[str, Any], name: str) -> dict[str, Any]:
    return next((one for one in live["status"]["conditions"] if one["type"] == name), {})


async def _mended(scene: Scene, kind: Kind, number: str) -> None:
    """Bring the same version into service after its fix, or a corrected one; nobody is failed."""
    wanted = number if kind.mend else number.replace(".0.0", ".0.1")
    async with talking(scene.endpoint, tenants=2, streams=1) as talk:
        if kind.mend:
            await asyncio.to_thread(kind.mend, scene, number)
            scene.kubectl("annotate", "agpkg", "assistant", "-n", NAMESPACE, "--overwrite",
                          f"bulkhead.dev/retry={number}")  # fmt: skip
        else:
            await asyncio.to_thread(scene.deliver, wanted, {})

        def in_service() -> bool:
            live = scene.live()
            return (
                live["status"]["version"] == wanted
                and _condition(live, "Ready").get("status") == "True"
            )

        await settled(in_service, f"{wanted} is in service", SECONDS)
    assert talk.failures == []
    await _serves_alone(scene, wanted)
