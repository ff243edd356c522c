"""Made, changed, damaged by hand, suspended, deleted: the operator keeps what the spec says."""

import asyncio
import json
from functools import partial

import pytest

from tests.e2e.conftest import Organizations
from tests.support.cluster import Endpoint, Kubectl, KubectlError, organization, settled
from tests.support.deadline import until

NAMESPACE = "org-initech"
CHILDREN = (
    "deployment/runtime",
    "service/runtime",
    "serviceaccount/runtime",
    "poddisruptionbudget/runtime",
    "resourcequota/runtime",
    "limitrange/runtime",
    "configmap/runtime-config",
)


async def test_what_is_deleted_by_hand_comes_back(kubectl: Kubectl, initech: Endpoint) -> None:
    policies = kubectl("get", "networkpolicy", "-n", NAMESPACE, "-o", "name").split()
    assert len(policies) >= 2
    for child in (*CHILDREN, *policies):
        before = _uid(kubectl, child)
        kubectl("delete", child, "-n", NAMESPACE, "--wait=false", "--cascade=orphan")
        await settled(partial(_is_another, kubectl, child, before), f"{child} is there again")
    kubectl("wait", "--for=condition=Ready", "orgrt/initech", "--timeout=120s")
    # A Service that is made anew has another address under its old name.
    anew = Endpoint.of("initech")
    await until(anew.answers, f"{anew.url} is routed")
    assert (await anew.execute("Still there?"))["status"] == "completed"


def _is_another(kubectl: Kubectl, child: str, before: str | None) -> bool:
    return _uid(kubectl, child) not in (None, before)


def _uid(kubectl: Kubectl, child: str) -> str | None:
    try:
        uid: str = kubectl.get(child, "-n", NAMESPACE)["metadata"]["uid"]
    except KubectlError:
        return None
    return uid


async def test_what_is_changed_by_hand_is_put_right(kubectl: Kubectl, initech: Endpoint) -> None:
    open_wide = {"spec": {"podSelector": {"matchLabels": {"nobody": "here"}}}}
    for policy in kubectl("get", "networkpolicy", "-n", NAMESPACE, "-o", "name").split():
        wanted = _selected(kubectl, policy)
        kubectl("patch", policy, "-n", NAMESPACE, "--type=merge", "-p", json.dumps(open_wide))
        await settled(
            partial(_selects, kubectl, policy, wanted),
            f"{policy} selects what it selected before",
        )
    kubectl("scale", "deployment/runtime", "-n", NAMESPACE, "--replicas=0")
    await settled(
        lambda: kubectl.get("deployment/runtime", "-n", NAMESPACE)["spec"]["replicas"] == 1,
        "the Deployment has its replica again",
    )
    # Until it is gone the former pod answers too.
    await settled(partial(_one_pod_is_ready, kubectl), "one pod is ready and no other there")
    await until(initech.answers, "the runtime answers again")
    assert (await initech.execute("Put right?"))["status"] == "completed"


def _pods(kubectl: Kubectl) -> set[str]:
    return {pod["metadata"]["name"] for pod in kubectl.get("pods", "-n", NAMESPACE)["items"]}


def _one_pod_is_ready(kubectl: Kubectl) -> bool:
    pods = kubectl.get("pods", "-n", NAMESPACE)["items"]
    ready = [
        condition
        for pod in pods
        for condition in pod["status"].get("conditions", [])
        if (condition["type"], condition["status"]) == ("Ready", "True")
    ]
    return len(pods) == len(ready) == 1 and "deletionTimestamp" not in pods[0]["metadata"]


def _selected(kubectl: Kubectl, policy: str) -> object:
    return kubectl.get(policy, "-n", NAMESPACE)["spec"]["podSelector"]


def _selects(kubectl: Kubectl, policy: str, wanted: object) -> bool:
    return _selected(kubectl, policy) == wanted


async def test_conversations_outlive_the_pod(kubectl: Kubectl, initech: Endpoint) -> None:
    session = (await initech.execute("My name is Milton."))["session_id"]
    former = _pods(kubectl)
    kubectl("delete", "pod", "--all", "-n", NAMESPACE, "--grace-period=0", "--force")
    # The Deployment says for a moment that all is there, and the former pod still answers.
    await settled(
        lambda: _one_pod_is_ready(kubectl) and not former & _pods(kubectl), "another pod is ready"
    )
    await until(initech.answers, "the runtime answers again")
    again = await initech.execute("What did I say?", session_id=session)
    assert again["session_id"] == session
    history = await _history(initech, session)
    assert "My name is Milton." in history
    assert "What did I say?" in history


async def _history(endpoint: Endpoint, session: str) -> str:
    path = f"/v1/sessions/{session}/messages"
    async with endpoint.session() as client, client.get(path) as response:
        return json.dumps(await response.json())


async def test_a_new_key_is_made_once_when_asked_for(kubectl: Kubectl, initech: Endpoint) -> None:
    kubectl("annotate", "orgrt", "initech", "bulkhead.dev/rotate-api-key=leaked", "--overwrite")
    await settled(lambda: Endpoint.of("initech").key != initech.key, "the key is another one")
    fresh = Endpoint.of("initech")

    async def status(key: str) -> int:
        async with fresh.session(key=key) as client, client.get("/v1/agents") as response:
            return response.status

    async def is_let_in() -> bool:
        return await status(fresh.key) == 200

    await until(is_let_in, "the new key opens")
    assert await status(initech.key) == 401
    kubectl("annotate", "orgrt", "initech", "example.com/touched=yes")
    kubectl("wait", "--for=condition=Ready", "orgrt/initech", "--timeout=120s")
    assert Endpoint.of("initech").key == fresh.key


async def test_suspending_stops_the_runtime_and_keeps_what_it_knows(
    kubectl: Kubectl, initech: Endpoint
) -> None:
    session = (await initech.execute("Keep this."))["session_id"]
    kubectl("patch", "orgrt", "initech", "--type=merge", "-p", '{"spec":{"suspend":true}}')
    kubectl("wait", "--for=jsonpath={.status.state}=suspended", "orgrt/initech", "--timeout=120s")
    kubectl("wait", "--for=delete", "pod", "-l", "app.kubernetes.io/name=bulkhead-runtime",
            "-n", NAMESPACE, "--timeout=120s")  # fmt: skip
    kubectl("patch", "orgrt", "initech", "--type=merge", "-p", '{"spec":{"suspend":false}}')
    kubectl("wait", "--for=condition=Ready", "orgrt/initech", "--timeout=120s")
    await until(initech.answers, "the runtime answers again")
    assert (await initech.execute("And now?", session_id=session))["session_id"] == session


def test_deleting_leaves_nothing_behind(kubectl: Kubectl, organizations: Organizations) -> None:
    organizations.make("initrode")
    (claim,) = kubectl.get("pvc", "-n", "org-initrode")["items"]
    kubectl("delete", "orgrt", "initrode", "--timeout=120s")
    kubectl("wait", "--for=delete", "namespace/org-initrode", "--timeout=120s")
    kubectl("wait", "--for=delete", f"pv/{claim['spec']['volumeName']}", "--timeout=120s")
    assert not kubectl.exists("orgrt", "initrode")


def test_retaining_keeps_the_data_and_a_new_runtime_finds_it(
    kubectl: Kubectl, organizations: Organizations
) -> None:
    former = organizations.make("chotchkies", deletionPolicy="Retain")
    session = asyncio.run(former.execute("Keep the flair."))["session_id"]
    kubectl("delete", "orgrt", "chotchkies", "--timeout=120s")
    assert kubectl.exists("pvc/runtime-data", "-n", "org-chotchkies")
    assert not kubectl.exists("deployment/runtime", "-n", "org-chotchkies")
    assert not kubectl.exists("service/runtime", "-n", "org-chotchkies")
    anew = organizations.make("chotchkies", namespace="org-chotchkies")
    assert "Keep the flair." in asyncio.run(_history(anew, session))
    assert anew.key == former.key


def test_a_namespace_of_somebody_else_is_left_alone(
    kubectl: Kubectl, organizations: Organizations
) -> None:
    kubectl("create", "namespace", "org-flingers")
    organizations.expect("flingers")
    kubectl.apply(organization("flingers"))
    kubectl("wait", "--for=condition=Stalled", "orgrt/flingers", "--timeout=120s")
    (stalled,) = [
        condition
        for condition in kubectl.get("orgrt", "flingers")["status"]["conditions"]
        if condition["type"] == "Stalled"
    ]
    assert "org-flingers" in stalled["message"]
    assert not kubectl.exists("deployment", "-n", "org-flingers")
    kubectl("delete", "orgrt", "flingers", "--timeout=120s")
    assert kubectl.exists("namespace", "org-flingers")


@pytest.mark.parametrize("name", ["Initech", "a" * 41, "initech.corp"])
def test_a_name_that_cannot_be_a_namespace_is_refused(kubectl: Kubectl, name: str) -> None:
    with pytest.raises(KubectlError):
        kubectl.apply(organization(name))
