"""CoreDNS as pods of kube-system, where NetworkPolicies expect it."""

from tests.cluster import places, versions
from tests.cluster.command_lines import DNS_SERVICE_ADDRESS
from tests.cluster.kubectl import Kubectl


def manifests() -> str:
    """Return what runs CoreDNS, as YAML."""
    template = (places.MANIFESTS / "coredns.yaml").read_text()
    return template.replace("$(IMAGE)", versions.COREDNS_IMAGE).replace(
        "$(ADDRESS)", DNS_SERVICE_ADDRESS
    )


def wait_until_ready(kubectl: Kubectl) -> None:
    """Wait until names are answered."""
    kubectl.run(
        "rollout",
        "status",
        "deployment/coredns",
        "--namespace=kube-system",
        "--timeout=120s",
        remedy="see `kubectl --namespace kube-system describe pods`.",
    )
