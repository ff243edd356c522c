"""How a person reaches an organization: its namespace, its endpoint, its key."""

import base64

from tests.cluster.kubectl import Kubectl
from tests.cluster.progress import ClusterError

SERVICE = "runtime"
_KEY_SECRET = "runtime-api-key"
_KEY_FIELD = "token"


def namespace(kubectl: Kubectl, organization: str) -> str:
    """Return the namespace that the operator gave to the organization."""
    remedy = "see `kubectl get orgrt` for the organizations that there are."
    found = kubectl.run(
        "get",
        "organizationruntimes.bulkhead.dev",
        organization,
        "--output=jsonpath={.status.namespace}",
        remedy=remedy,
    )
    if not found:
        raise ClusterError(
            f"The organization {organization} has no namespace yet.",
            remedy=f"kubectl describe orgrt {organization} says why.",
        )
    return found


def key(kubectl: Kubectl, organization: str) -> str:
    """Return the organization's API key."""
    encoded = kubectl.run(
        "get",
        "secret",
        _KEY_SECRET,
        f"--namespace={namespace(kubectl, organization)}",
        f"--output=jsonpath={{.data.{_KEY_FIELD}}}",
        remedy=f"wait until it is ready: kubectl wait --for=condition=Ready orgrt/{organization}",
    )
    return base64.b64decode(encoded).decode()
