"""A package with an image of its own on the real cluster: it runs, answers, and gives way."""

import asyncio
import json
from typing import Any

import pytest
import yaml

from tests.e2e.conftest import Organizations
from tests.support.cluster import ROOT, Endpoint, Kubectl, cluster_tool, settled
from tests.support.deadline import until

NAME = "wonka"
NAMESPACE = f"org-{NAME}"
LIMITS = {
    "requests": {"cpuMillicores": 50, "memoryMB": 96},
    "maxMemoryMB": 256,
    # Two versions that serve and one that comes, each with a pod more while it is replaced.
    "packages": {"pods": 6, "memoryMB": 384, "cpuMillicores": 600},
}


@pytest.fixture(scope="module")
def reference() -> str:
    """The example's image, on the cluster's nodes."""
    return cluster_tool("dedicated").splitlines()[-1]


@pytest.fixture(scope="module")
def wonka(lasting: Organizations) -> Endpoint:
    """An organization that gives packages room for pods of their own."""
    return lasting.make(NAME, limits=LIMITS)


def parcels(reference: str, version: str = "1.0.0", **spec: Any) -> dict[str, Any]:
    """The example's package as its author writes it, with the image that is there."""
    manifest: dict[str, Any] = yaml.safe_load(
        (ROOT / "examples" / "dedicated" / "package.yaml").read_text()
    )
    manifest["metadata"]["namespace"] = NAMESPACE
    manifest["spec"]["version"] = version
    manifest["spec"]["image"]["reference"] = reference
    manifest["spec"] |= spec
    return manifest


def ready(kubectl: Kubectl, version: str) -> None:
    of_package = ("-n", NAMESPACE, "agpkg/parcels", "--timeout=120s")
    kubectl("wait", f"--for=jsonpath={{.status.version}}={version}", *of_package)
    kubectl("wait", "--for=condition=Ready", *of_package)


async def ask(endpoint: Endpoint, message: str, **fields: object) -> tuple[int, dict[str, Any]]:
    async with (
        endpoint.session() as session,
        session.post("/v1/agents/parcels/execute", json={"message": message, **fields}) as response,
    ):
        return response.status, await response.json()


async def say(endpoint: Endpoint, message: str, **fields: object) -> dict[str, Any]:
    status, answer = await ask(endpoint, message, **fields)
    assert status == 200, answer
    return answer


def running(kubectl: Kubectl) -> list[str]:
    """Return the versions that have pods of their own."""
    items = kubectl.get("deployments", "-n", NAMESPACE)["items"]
    marks = [one["metadata"].get("annotations", {}) for one in items]
    return sorted(
        mark["bulkhead.dev/package-version"]
        for mark in marks
        if "bulkhead.dev/package-version" in mark
    )


async def test_nobody_but_the_runtime_reaches_an_image_which_reaches_nobody(
    kubectl: Kubectl, wonka: Endpoint, reference: str
) -> None:
    await asyncio.to_thread(kubectl.apply, parcels(reference))
    await asyncio.to_thread(ready, kubectl, "1.0.0")
    selector = ("-l", "app.kubernetes.io/component=package", "-n", NAMESPACE)
    (pod,) = kubectl.get("pods", *selector)["items"]
    program = (
        "import socket,sys\n"
        "try: socket.create_connection((sys.argv[1], int(sys.argv[2])), 3)\n"
        "except OSError: sys.exit(0)\n"
        "sys.exit(1)"
    )
    (runtime,) = kubectl.get("pods", "-l", "app.kubernetes.io/component=runtime", "-n", NAMESPACE)[
        "items"
    ]
    outward = ("exec", "-n", NAMESPACE, pod["metadata"]["name"], "--", "python3", "-c", program)
    for address, port in (
        (runtime["status"]["podIP"], "9090"),
        ("169.254.169.254", "80"),
        ("kubernetes.default.svc", "443"),
    ):
        await kubectl.meanwhile(*outward, address, port)
    inward = ("exec", "-n", "org-acme", "deploy/runtime", "--", "python3", "-c", program)
    await kubectl.meanwhile(*inward, pod["status"]["podIP"], "8080")
    token = ("exec", "-n", NAMESPACE, pod["metadata"]["name"], "--", "ls", "/var/run/secrets")

    async def answers() -> bool:
        _, told = await ask(wonka, "BH-1001")
        return "on its way" in told.get("answer", "")

    await until(answers, "the runtime reaches it all the same")
    with pytest.raises(Exception, match="No such file"):
        kubectl(*token)
    assert json.dumps(pod["spec"]["volumes"]).count("emptyDir") == 1


async def test_an_image_answers_upgrades_and_comes_back_when_its_next_version_crashes(
    kubectl: Kubectl, wonka: Endpoint, reference: str
) -> None:
    await asyncio.to_thread(kubectl.apply, parcels(reference))
    await asyncio.to_thread(ready, kubectl, "1.0.0")
    first = await say(wonka, "Where is BH-1002?")
    assert first["answer"].strip() == "Parcel BH-1002 waits at the depot."
    assert first["usage"]["output_tokens"] == 9
    again = await say(wonka, "And now?", session_id=first["session_id"])
    assert "BH-1002" in again["answer"], "the conversation was handed over"

    kubectl.apply(parcels(reference, "1.1.0"))
    await asyncio.to_thread(ready, kubectl, "1.1.0")
    assert (await say(wonka, "BH-1001?"))["version"] == "1.1.0"
    pinned = await say(wonka, "And now?", session_id=first["session_id"])
    assert pinned["version"] == "1.0.0"
    assert running(kubectl) == ["1.0.0", "1.1.0"]

    # The runtime's own image is on every node and ends at once without its environment.
    runtime = kubectl.get("deployment", "runtime", "-n", NAMESPACE)
    image = runtime["spec"]["template"]["spec"]["containers"][0]["image"]
    kubectl.apply(parcels(image, "2.0.0"))

    def taken_back() -> bool:
        live = kubectl.get("agpkg", "parcels", "-n", NAMESPACE)["status"]
        stalled = [one for one in live["conditions"] if one["type"] == "Stalled"]
        return bool(stalled) and stalled[0]["reason"] == "CrashLoop"

    await settled(taken_back, "the version that crashes is taken back")
    assert (await say(wonka, "BH-1003?"))["version"] == "1.1.0"
    await settled(lambda: "2.0.0" not in running(kubectl), "its pods are gone")
