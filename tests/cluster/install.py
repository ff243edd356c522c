"""Installs Bulkhead with Helm, applies the examples and shows the main job on them."""

import ipaddress
import json
import urllib.error
import urllib.request
from collections.abc import Callable

from tests.cluster import binaries, organizations, places
from tests.cluster.commands import run
from tests.cluster.images import Image
from tests.cluster.kubectl import Kubectl
from tests.cluster.progress import ClusterError, say, until

RELEASE = "bulkhead"
NAMESPACE = "bulkhead-system"
ORGANIZATIONS = ("acme", "globex")
AGENT = "assistant"
_QUESTION = "Who are you?"
_SHOWN_CHARACTERS = 110
_REFUSED = 401
_ANSWER_SECONDS = 30.0
_READY_SECONDS = 180

Url = Callable[[str, str], str]


def release(kubectl: Kubectl, operator: Image, runtime: Image) -> str:
    """Install or upgrade the chart and wait until the operator is at work."""
    values = {
        "operator.image.repository": operator.repository,
        "operator.image.tag": operator.tag,
        "runtime.image.repository": runtime.repository,
        "runtime.image.tag": runtime.tag,
    }
    run(
        [
            binaries.ensure("helm")["helm"],
            f"--kubeconfig={kubectl.kubeconfig}",
            "upgrade",
            "--install",
            RELEASE,
            places.ROOT / "charts" / "bulkhead",
            f"--namespace={NAMESPACE}",
            "--create-namespace",
            *(f"--set-string={key}={value}" for key, value in values.items()),
            f"--set-json=network.deniedCIDRs={json.dumps(_inside(kubectl))}",
        ],
        remedy="`helm lint --strict charts/bulkhead` checks the chart by itself.",
    )
    _wait_for_operator(kubectl)
    return f"operator {operator.tag}"


def _inside(kubectl: Kubectl) -> list[str]:
    """Return the cluster's own addresses, which no organization may open for itself.

    Services, among them that of the API server, pods, and nodes, on which the API server listens.
    """
    services = kubectl.get("servicecidrs.networking.k8s.io")["items"]
    nodes = kubectl.get("nodes")["items"]
    ranges = {cidr for service in services for cidr in service["spec"]["cidrs"]}
    ranges |= {cidr for node in nodes for cidr in node["spec"].get("podCIDRs", ())}
    addresses = {
        entry["address"]
        for node in nodes
        for entry in node["status"]["addresses"]
        if entry["type"] in {"InternalIP", "ExternalIP"}
    }
    hosts = {str(ipaddress.ip_network(address)) for address in addresses}
    return sorted(ranges | hosts)


def examples(kubectl: Kubectl) -> str:
    """Apply the examples and wait until both organizations and their packages are ready."""
    # By name: another file there wants a key of the user's own before it gets ready.
    for name in ORGANIZATIONS:
        kubectl.run("apply", "--filename", places.ROOT / "examples" / f"{name}.yaml")
    _wait(kubectl, *(f"organizationruntime.bulkhead.dev/{name}" for name in ORGANIZATIONS))
    for name in ORGANIZATIONS:
        namespace = organizations.namespace(kubectl, name)
        _wait(kubectl, "agentpackage.bulkhead.dev", "--all", f"--namespace={namespace}")
    return ", ".join(ORGANIZATIONS)


def demonstration(kubectl: Kubectl, url: Url) -> None:
    """Let both organizations' agents answer, and show that a foreign key opens nothing."""
    keys = {name: organizations.key(kubectl, name) for name in ORGANIZATIONS}
    urls = {
        name: url(organizations.namespace(kubectl, name), organizations.SERVICE)
        for name in ORGANIZATIONS
    }
    for name in ORGANIZATIONS:
        status, answer = _until_answered(urls[name], keys[name])
        if status != 200:
            raise ClusterError(f"{name} answered {status}: {json.dumps(answer)}")
        say(f"    {name:<7} {urls[name]}\n            {_shown(answer)}")
    owner, other = ORGANIZATIONS
    status, answer = _ask(urls[other], keys[owner])
    if status != _REFUSED:
        raise ClusterError(f"{other} should refuse {owner}'s key but answered {status}.")
    say(f"    {owner}'s key at {other}: refused ({status} {answer.get('title', '')})".rstrip())


def next_commands(kubectl: Kubectl) -> str:
    """Return the three commands to try next."""
    return "\n".join(
        [
            "",
            "Try next:",
            f"  export KUBECONFIG={kubectl.kubeconfig}; kubectl get orgrt,agpkg --all-namespaces",
            # Typed in the checkout, so it may ask make for what it needs.
            (
                '  curl -H "Authorization: Bearer $(make key ORG=acme)" '
                "-H 'Content-Type: application/json' "
                f'-d \'{{"message": "Hello"}}\' "$(make url ORG=acme)/v1/agents/{AGENT}/execute"'
            ),
            "  kubectl explain organizationruntime.spec.limits",
        ]
    )


def _wait_for_operator(kubectl: Kubectl) -> None:
    where = f"--namespace={NAMESPACE}"
    deployment = "deployment/bulkhead-operator"
    if kubectl.succeeds("rollout", "status", deployment, where, "--timeout=120s"):
        return
    pods = kubectl.run("get", "pods", where)
    raise ClusterError(
        f"The operator did not become available:\n{pods}\n{_operator_logs(kubectl)}",
        remedy=f"kubectl {where} describe pods",
    )


def _operator_logs(kubectl: Kubectl) -> str:
    where = (f"--namespace={NAMESPACE}", "deployment/bulkhead-operator", "--all-pods=true")
    return "The operator's last words:\n" + kubectl.run("logs", *where, "--tail=6")


def _wait(kubectl: Kubectl, *what: str) -> None:
    if kubectl.succeeds("wait", "--for=condition=Ready", *what, f"--timeout={_READY_SECONDS}s"):
        return
    kinds = "organizationruntimes.bulkhead.dev,agentpackages.bulkhead.dev"
    seen = kubectl.run("get", kinds, "--all-namespaces", "--output=wide")
    raise ClusterError(
        f"Not Ready after {_READY_SECONDS} seconds: {' '.join(what)}\n"
        f"{seen}\n{_operator_logs(kubectl)}",
        remedy="`kubectl describe orgrt,agpkg --all-namespaces` says what they wait for.",
    )


def _until_answered(url: str, key: str) -> tuple[int, dict[str, object]]:
    """Ask until somebody is there: a Service's rules follow its first ready pod by a moment."""
    answers: list[tuple[int, dict[str, object]]] = []

    def answered() -> bool:
        try:
            answers.append(_ask(url, key))
        except OSError:
            return False
        return True

    until(answered, seconds=_ANSWER_SECONDS, what=f"{url} answers")
    return answers[0]


def _ask(url: str, key: str) -> tuple[int, dict[str, object]]:
    request = urllib.request.Request(
        f"{url}/v1/agents/{AGENT}/execute",
        data=json.dumps({"message": _QUESTION}).encode(),
        headers={"Authorization": f"Bearer {key}", "Content-Type": "application/json"},
    )
    try:
        with urllib.request.urlopen(request, timeout=10) as response:
            return response.status, json.load(response)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.loads(error.read() or b"{}")


def _shown(answer: dict[str, object]) -> str:
    text = str(answer.get("answer", answer))
    return text if len(text) <= _SHOWN_CHARACTERS else f"{text[:_SHOWN_CHARACTERS]}..."
