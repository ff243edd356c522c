"""What a newcomer sees after `make up`, and what one organization must never reach."""

import json
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.support.cluster import Endpoint, Kubectl, KubectlError

REACH = """
import socket, sys
host, port = sys.argv[1], int(sys.argv[2])
try:
    socket.create_connection((host, port), timeout=3).close()
except OSError as error:
    sys.exit(f"refused: {error}")
print("reached")
"""


def from_inside(kubectl: Kubectl, host: str, port: int) -> str:
    """Try a connection from acme's runtime; returns 'reached' or why not."""
    command = ("python3", "-c", REACH, host, str(port))
    try:
        return kubectl("exec", "-n", "org-acme", "deploy/runtime", "--", *command).strip()
    except KubectlError as refused:
        return str(refused)


def all_from_inside(kubectl: Kubectl, targets: dict[str, tuple[str, int]]) -> dict[str, str]:
    """Try them all at once: what drops packets says so only by its silence."""
    with ThreadPoolExecutor(len(targets)) as at_once:
        answers = at_once.map(lambda target: from_inside(kubectl, *target), targets.values())
        return dict(zip(targets, answers, strict=True))


async def test_each_organization_answers_on_its_own_endpoint(
    acme: Endpoint, globex: Endpoint
) -> None:
    for endpoint in (acme, globex):
        answer = await endpoint.execute("Hello, who are you?")
        assert answer["status"] == "completed"
        assert answer["answer"]
        usage = answer["usage"]
        assert usage["total_tokens"] == usage["input_tokens"] + usage["output_tokens"] > 0


async def test_another_organizations_key_is_refused(acme: Endpoint, globex: Endpoint) -> None:
    async with globex.session(key=acme.key) as session, session.get("/v1/agents") as response:
        assert response.status == 401
        assert "Bearer" in response.headers["WWW-Authenticate"]
        text = await response.text()
    assert acme.key not in text
    assert globex.key not in text


async def test_another_organizations_session_is_unknown(acme: Endpoint, globex: Endpoint) -> None:
    theirs = (await acme.execute("Remember me."))["session_id"]
    async with globex.session() as session, session.get(f"/v1/sessions/{theirs}") as response:
        assert response.status == 404


def test_conditions_are_what_kubectl_waits_for(kubectl: Kubectl) -> None:
    waited = kubectl("wait", "--for=condition=Ready", "orgrt/acme", "--timeout=120s")
    assert "condition met" in waited


def test_the_list_says_how_each_organization_is(kubectl: Kubectl) -> None:
    header, *rows = kubectl("get", "orgrt").splitlines()
    assert header.split() == ["NAME", "STATE", "READY", "REASON", "URL", "AGENTS", "AGE"]
    acme = next(row.split() for row in rows if row.startswith("acme"))
    assert acme[1:3] == ["active", "True"]
    assert acme[4].startswith("http")
    assert acme[5] == "1"


def test_one_word_lists_everything_of_bulkhead(kubectl: Kubectl) -> None:
    listed = kubectl("get", "bulkhead", "-n", "org-acme")
    for kind in ("organizationruntime", "agentpackage", "memorypool"):
        assert kind in listed


def test_explain_teaches_what_a_limit_means(kubectl: Kubectl) -> None:
    text = kubectl("explain", "organizationruntime.spec.limits.maxCPUPercent")
    assert "percent of one core" in " ".join(text.split())


@pytest.mark.parametrize(
    ("what", "patch", "words"),
    [
        (
            "a number out of bounds",
            {"limits": {"maxCPUPercent": 5}},
            ["spec.limits.maxCPUPercent", "5", "greater than or equal to 10"],
        ),
        (
            "a provider that nobody configured",
            {"models": {"default": "openai/gpt-4o"}},
            ["spec.models.default", "openai/gpt-4o", "must name one of"],
        ),
        ("a namespace that moves", {"namespace": "elsewhere"}, ["spec.namespace", "immutable"]),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_the_api_server_refuses_wrong_values_with_help(
    kubectl: Kubectl, what: str, patch: dict[str, object], words: list[str]
) -> None:
    with pytest.raises(KubectlError) as refused:
        kubectl("patch", "orgrt", "acme", "--type=merge", "-p", json.dumps({"spec": patch}))
    assert [word for word in words if word not in refused.value.text] == []


def test_a_runtime_resolves_names_and_reaches_nothing_else(kubectl: Kubectl) -> None:
    reached = all_from_inside(kubectl, forbidden(kubectl))
    assert {what for what, answer in reached.items() if answer == "reached"} == set()
    # Names do resolve: a refusal by DNS would prove nothing about the connections.
    assert "Name or service not known" not in reached["the other organization"]
    assert "name resolution" not in reached["the other organization"]


def test_opening_the_whole_internet_opens_nothing_of_the_cluster(kubectl: Kubectl) -> None:
    everything = {"egress": [{"cidr": "0.0.0.0/0", "ports": [80, 443, 6443, 8080, 9090]}]}
    kubectl("patch", "orgrt", "acme", "--type=merge", "-p",
            json.dumps({"spec": {"network": everything}}))  # fmt: skip
    try:
        opened = "jsonpath={.spec.egress[*].to[*].ipBlock.cidr}=0.0.0.0/0"
        kubectl("wait", f"--for={opened}", "networkpolicy/runtime", "-n", "org-acme",
                "--timeout=120s")  # fmt: skip
        policy = kubectl.get("networkpolicy", "runtime", "-n", "org-acme")["spec"]["egress"]
        reached = all_from_inside(kubectl, forbidden(kubectl))
    finally:
        kubectl("patch", "orgrt", "acme", "--type=merge", "-p",
                json.dumps({"spec": {"network": {"egress": []}}}))  # fmt: skip
    assert {what for what, answer in reached.items() if answer == "reached"} == set(), policy


def forbidden(kubectl: Kubectl) -> dict[str, tuple[str, int]]:
    """Return what no organization may ever reach."""
    api_server = kubectl.get("endpoints", "kubernetes")["subsets"][0]
    return {
        "the other organization": ("runtime.org-globex.svc.cluster.local", 80),
        "the other organization's internal port": (pod_address(kubectl, "org-globex"), 9090),
        "the API server's service": ("kubernetes.default.svc.cluster.local", 443),
        "the API server itself": (
            api_server["addresses"][0]["ip"],
            api_server["ports"][0]["port"],
        ),
        "cloud metadata": ("169.254.169.254", 80),
        "the operator": (operator_address(kubectl), 8080),
    }


def pod_address(kubectl: Kubectl, namespace: str) -> str:
    (pod,) = kubectl.get("pods", "-n", namespace)["items"]
    address: str = pod["status"]["podIP"]
    return address


def operator_address(kubectl: Kubectl) -> str:
    pods = kubectl.get("pods", "-n", "bulkhead-system")["items"]
    address: str = pods[0]["status"]["podIP"]
    return address


def test_a_runtime_pod_holds_no_token_and_no_privilege(kubectl: Kubectl) -> None:
    (pod,) = kubectl.get("pods", "-n", "org-acme")["items"]
    (container,) = pod["spec"]["containers"]
    context = container["securityContext"]
    assert pod["spec"]["automountServiceAccountToken"] is False
    assert context["readOnlyRootFilesystem"] is True
    assert context["allowPrivilegeEscalation"] is False
    assert context["capabilities"] == {"drop": ["ALL"]}
    with pytest.raises(KubectlError, match="No such file"):
        kubectl("exec", "-n", "org-acme", "deploy/runtime", "--",
                "ls", "/var/run/secrets/kubernetes.io/serviceaccount")  # fmt: skip
