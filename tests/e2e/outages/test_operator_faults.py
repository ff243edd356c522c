"""Tenants never need the operator; the cluster needs only one of its replicas."""

from tests.support.cluster import Endpoint, Kubectl, organization, settled
from tests.support.operator_pods import SELECTOR, SYSTEM, Container, kill, leader


async def test_the_standby_takes_over_when_the_leader_is_killed(
    kubectl: Kubectl, acme: Endpoint
) -> None:
    before = leader(kubectl)
    kill(kubectl, Container.of(kubectl, SYSTEM, before))
    await settled(lambda: leader(kubectl) not in ("", before), "another replica leads")
    kubectl("delete", "poddisruptionbudget", "runtime", "-n", "org-acme")
    await settled(
        lambda: kubectl.exists("poddisruptionbudget", "runtime", "-n", "org-acme"),
        "the new leader works",
    )
    kubectl("rollout", "status", "deployment/bulkhead-operator", "-n", SYSTEM, "--timeout=120s")


async def test_without_an_operator_tenants_are_served_and_nothing_is_forgotten(
    kubectl: Kubectl, initech: Endpoint
) -> None:
    kubectl("scale", "deployment/bulkhead-operator", "-n", SYSTEM, "--replicas=0")
    try:
        kubectl("wait", "--for=delete", "pod", "-l", SELECTOR, "-n", SYSTEM, "--timeout=120s")
        assert (await initech.execute("Anybody there?"))["status"] == "completed"
        kubectl.apply(organization("initech", limits={"maxInputCharacters": 77,
                      "requests": {"cpuMillicores": 50, "memoryMB": 96}}))  # fmt: skip
        kubectl("delete", "service", "runtime", "-n", "org-initech")
    finally:
        kubectl("scale", "deployment/bulkhead-operator", "-n", SYSTEM, "--replicas=2")
    await settled(
        lambda: kubectl.exists("service", "runtime", "-n", "org-initech"),
        "what was deleted meanwhile is back",
    )
    await settled(
        lambda: (
            kubectl.get("orgrt", "initech")["status"]["observedGeneration"]
            == kubectl.get("orgrt", "initech")["metadata"]["generation"]
        ),
        "what was changed meanwhile is seen",
    )
