"""CoreDNS as pods of kube-system, where NetworkPolicies expect it."""

import secrets
import socket

from tests.cluster import places, versions
from tests.cluster.command_lines import API_SERVICE_ADDRESS, DNS_SERVICE_ADDRESS
from tests.cluster.kubectl import Kubectl
from tests.cluster.progress import until

_ASKED = "kubernetes.default.svc.cluster.local"
_SECONDS = 120.0
_PATIENCE_SECONDS = 0.5


def manifests() -> str:
    """Return what runs CoreDNS, as YAML."""
    template = (places.MANIFESTS / "coredns.yaml").read_text()
    return template.replace("$(IMAGE)", versions.COREDNS_IMAGE).replace(
        "$(ADDRESS)", DNS_SERVICE_ADDRESS
    )


def wait_until_ready(kubectl: Kubectl) -> None:
    """Wait until names are answered.

    By asking for one: after a crash the Deployment still counts as available for a while.
    """
    until(_resolves, seconds=_SECONDS, what=f"CoreDNS answers for {_ASKED}")
    kubectl.run(
        "rollout",
        "status",
        "deployment/coredns",
        "--namespace=kube-system",
        "--timeout=120s",
        remedy="see `kubectl --namespace kube-system describe pods`.",
    )


def _resolves() -> bool:
    number = secrets.token_bytes(2)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asker:
        asker.settimeout(_PATIENCE_SECONDS)
        try:
            asker.sendto(_question(number), (DNS_SERVICE_ADDRESS, 53))
            answer = asker.recv(512)
        except OSError:
            return False
    return answer.startswith(number) and answer.endswith(socket.inet_aton(API_SERVICE_ADDRESS))


def _question(number: bytes) -> bytes:
    labels = b"".join(bytes([len(label)]) + label.encode() for label in _ASKED.split("."))
    # One question, recursion desired; type A, class IN.
    return number + b"\x01\x00\x00\x01" + bytes(6) + labels + b"\x00\x00\x01\x00\x01"
