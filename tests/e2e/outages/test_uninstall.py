"""Taking Bulkhead itself away: tenants are served on, and nothing waits for what is gone."""

import subprocess

from tests.e2e.conftest import Departures
from tests.support.cluster import PATIENTLY, Endpoint, Kubectl, cluster_tool, settled

SYSTEM = "bulkhead-system"


async def test_uninstalling_leaves_runtimes_serving_and_nothing_terminating(
    kubectl: Kubectl, departures: Departures, initech: Endpoint, acme: Endpoint
) -> None:
    # What other tests made may still be terminating, for which an operator is needed.
    departures.wait()
    try:
        helm(kubectl, "uninstall", "bulkhead", "-n", SYSTEM, "--wait", "--timeout", "120s")
        for endpoint in (acme, initech):
            assert (await endpoint.execute("Still served?"))["status"] == "completed"
        kubectl("delete", "orgrt", "initech", "--timeout=120s")
        kubectl("delete", "namespace", "org-initech", PATIENTLY)
        leaving = [
            item["metadata"]["name"]
            for item in kubectl.get("orgrt,agpkg,mempool,namespaces", "-A")["items"]
            if "deletionTimestamp" in item["metadata"]
        ]
        assert leaving == []
    finally:
        cluster_tool("up")
    await settled(
        lambda: kubectl.get("orgrt", "acme")["metadata"].get("finalizers"),
        "the new operator has taken the organization over",
    )
    kubectl("wait", "--for=condition=Ready", "orgrt/acme", "--timeout=120s")


def helm(kubectl: Kubectl, *arguments: str) -> None:
    program = cluster_tool("binaries", "--path", "helm")
    command = [program, "--kubeconfig", kubectl.kubeconfig, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
