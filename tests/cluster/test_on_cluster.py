"""What organizations rely on, asked of the cluster that is up: walls, names, volumes, Services.

Run after `make up`. Everything happens in a namespace of the test's own.
"""

import subprocess
from collections.abc import Iterator, Mapping

import pytest
import yaml

from tests.cluster.kubectl import Kubectl
from tests.cluster.local import LocalCluster
from tests.cluster.progress import until

NAMESPACE = "cluster-test"
_IMAGE = "localhost/busybox:1"
_DNS = [
    {
        "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "kube-system"}},
        "podSelector": {"matchLabels": {"k8s-app": "kube-dns"}},
    }
]
_SEALED = {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
_NAMES_ONLY = {
    "podSelector": {},
    "policyTypes": ["Egress"],
    "egress": [{"to": _DNS, "ports": [{"port": 53, "protocol": "UDP"}]}],
}
_OPEN_INSIDE = {
    "podSelector": {},
    "policyTypes": ["Ingress", "Egress"],
    "ingress": [{"from": [{"podSelector": {}}]}],
    "egress": [{"to": [{"podSelector": {}}]}],
}


class Scene:
    """A server with a volume and a Service, and a client beside it."""

    def __init__(self) -> None:
        self._cluster = LocalCluster()
        self.kubectl = Kubectl(self._cluster.kubeconfig)

    def apply(self, *manifests: dict[str, object]) -> None:
        self.kubectl.apply(yaml.safe_dump_all(manifests))

    def policy(self, name: str, spec: Mapping[str, object]) -> None:
        self.apply(_manifest("networking.k8s.io/v1", "NetworkPolicy", name, spec=spec))

    def address(self) -> str:
        return self._cluster.url(NAMESPACE, "server").removeprefix("http://")

    def client_reaches(self, host: str, port: int) -> bool:
        request = (
            f"printf 'GET / HTTP/1.0\\r\\n\\r\\n' | timeout 3 nc -w 2 {host} {port} | grep kept"
        )
        return self.kubectl.succeeds(*_IN_CLIENT, "sh", "-c", request)

    def client_reaches_api_server(self) -> bool:
        knock = "timeout 3 nc -w 2 10.96.0.1 443 </dev/null"
        return self.kubectl.succeeds(*_IN_CLIENT, "sh", "-c", knock)

    def client_resolves(self, name: str) -> bool:
        return self.kubectl.succeeds(*_IN_CLIENT, "timeout", "3", "nslookup", name)

    def host_reaches(self) -> bool:
        argv = ["curl", "--silent", "--fail", "--max-time", "2", f"http://{self.address()}/"]
        return "kept" in subprocess.run(argv, capture_output=True, text=True, check=False).stdout


_IN_CLIENT = ("exec", f"--namespace={NAMESPACE}", "client", "--")


def _manifest(version: str, kind: str, name: str, **rest: object) -> dict[str, object]:
    metadata = {"name": name, "namespace": NAMESPACE, "labels": {"app": name}}
    return {"apiVersion": version, "kind": kind, "metadata": metadata, **rest}


def _pod(name: str, command: str, *, volume: bool = False) -> dict[str, object]:
    mounts = [{"name": "data", "mountPath": "/data"}] if volume else []
    volumes = [{"name": "data", "persistentVolumeClaim": {"claimName": "data"}}] if volume else []
    container = {
        "name": "main",
        "image": _IMAGE,
        "command": ["sh", "-c", command],
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "volumeMounts": mounts,
    }
    security = {
        "runAsNonRoot": True,
        "runAsUser": 65532,
        "fsGroup": 65532,
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    spec = {
        "terminationGracePeriodSeconds": 0,
        "securityContext": security,
        "containers": [container],
        "volumes": volumes,
    }
    return _manifest("v1", "Pod", name, spec=spec)


def _server() -> dict[str, object]:
    return _pod("server", "echo kept >>/data/index.html; httpd -f -p 8080 -h /data", volume=True)


@pytest.fixture(scope="module")
def scene() -> Iterator[Scene]:
    made = Scene()
    made.kubectl.apply(f"apiVersion: v1\nkind: Namespace\nmetadata: {{name: {NAMESPACE}}}\n")
    # No pod is let in before a controller has made the account that pods run under.
    account = ("wait", "--for=create", "serviceaccount/default", f"--namespace={NAMESPACE}")
    made.kubectl.run(*account, "--timeout=120s")
    claim = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Mi"}}}
    service = {"selector": {"app": "server"}, "ports": [{"port": 80, "targetPort": 8080}]}
    made.apply(
        _manifest("v1", "PersistentVolumeClaim", "data", spec=claim),
        _manifest("v1", "Service", "server", spec=service),
        _server(),
        _pod("client", "sleep 100000"),
    )
    ready = ("wait", f"--namespace={NAMESPACE}", "--for=condition=Ready", "--timeout=120s")
    made.kubectl.run(*ready, "pod/server", "pod/client")
    yield made
    made.kubectl.run("delete", "namespace", NAMESPACE, "--timeout=120s")


@pytest.fixture
def sealed(scene: Scene) -> Iterator[Scene]:
    scene.policy("sealed", _SEALED)
    until(
        lambda: not scene.client_reaches(scene.address(), 80),
        seconds=120,
        what="default-deny keeps the client from the server",
    )
    yield scene
    scene.kubectl.run("delete", "networkpolicy", "--all", f"--namespace={NAMESPACE}")


def test_everything_is_open_without_a_policy(scene: Scene) -> None:
    host = scene.address()
    until(lambda: scene.client_reaches(host, 80), seconds=120, what="the client reaches the server")
    assert scene.client_resolves(f"server.{NAMESPACE}.svc.cluster.local")
    assert scene.client_reaches_api_server()


def test_this_machine_reaches_a_service_whatever_the_policies_say(sealed: Scene) -> None:
    until(sealed.host_reaches, seconds=120, what="this machine reaches the Service")


def test_default_deny_blocks_names_too(sealed: Scene) -> None:
    name = f"server.{NAMESPACE}.svc.cluster.local"
    # The server's side of the wall may stand before the client's.
    until(lambda: not sealed.client_resolves(name), seconds=120, what="no name resolves")


def test_an_opening_for_names_opens_names_only(sealed: Scene) -> None:
    sealed.policy("names", _NAMES_ONLY)
    name = f"server.{NAMESPACE}.svc.cluster.local"
    until(lambda: sealed.client_resolves(name), seconds=120, what="names resolve again")
    assert not sealed.client_reaches(sealed.address(), 80)


def test_an_opening_for_pods_opens_the_server_and_not_the_api_server(sealed: Scene) -> None:
    sealed.policy("inside", _OPEN_INSIDE)
    host = sealed.address()
    until(
        lambda: sealed.client_reaches(host, 80), seconds=120, what="the client reaches the server"
    )
    assert not sealed.client_reaches_api_server()


def test_a_volume_keeps_what_a_non_root_pod_wrote(scene: Scene) -> None:
    where = f"--namespace={NAMESPACE}"
    scene.kubectl.run("delete", "pod", "server", where, "--timeout=120s")
    scene.apply(_server())
    ready = ("wait", where, "--for=condition=Ready", "--timeout=120s")
    scene.kubectl.run(*ready, "pod/server")
    lines = scene.kubectl.run("exec", where, "server", "--", "cat", "/data/index.html")
    assert lines.split() == ["kept", "kept"]
