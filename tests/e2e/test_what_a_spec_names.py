"""Secrets and documents that a spec names reach the running runtime as the spec says."""

import hashlib

import pytest

from tests.e2e.conftest import Organizations
from tests.support.cluster import Endpoint, Kubectl

NAME, NAMESPACE = "cyberdyne", "org-cyberdyne"
TOKEN = "a-token-of-the-build-server"


@pytest.fixture(scope="module")
def equipped(kubectl: Kubectl, lasting: Organizations) -> Endpoint:
    """An organization with a key of its own and a document, both there before the runtime."""
    metadata = {"name": NAMESPACE, "annotations": {"bulkhead.dev/organization": NAME}}
    kubectl.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": metadata})
    digest = hashlib.sha256(TOKEN.encode()).hexdigest()
    kubectl("create", "secret", "generic", "ci-key", "-n", NAMESPACE,
            f"--from-literal=token=sha256:{digest}")  # fmt: skip
    kubectl("create", "configmap", "handbook", "-n", NAMESPACE,
            "--from-literal=holidays.md=Everybody has thirty days.")  # fmt: skip
    key = {"name": "ci", "secretRef": {"name": "ci-key"}, "scopes": ["sessions:read"]}
    return lasting.make(
        NAME,
        namespace=NAMESPACE,
        authentication={"apiKeys": [key]},
        tools={"documents": {"configMaps": ["handbook"]}},
    )


async def test_a_key_from_a_secret_may_do_what_its_scopes_say(equipped: Endpoint) -> None:
    async with equipped.session(key=TOKEN) as client:
        async with client.get("/v1/sessions") as response:
            assert response.status == 200
        body = {"message": "May I?"}
        async with client.post("/v1/agents/assistant/execute", json=body) as response:
            assert response.status == 403
            assert "agents:run" in await response.text()


def test_documents_are_mounted_by_name(kubectl: Kubectl, equipped: Endpoint) -> None:
    read = kubectl("exec", "-n", NAMESPACE, "deploy/runtime", "--", "cat",
                   "/etc/bulkhead-documents/handbook/holidays.md")  # fmt: skip
    assert read == "Everybody has thirty days."
