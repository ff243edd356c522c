"""Installation steps of a version as the real kubelet runs them: confined, before any traffic."""

from typing import Any

import pytest

from tests.e2e.conftest import Organizations
from tests.support.cluster import Endpoint, Kubectl, package, ready

NAME, NAMESPACE = "umbrella", "org-umbrella"

CONFINED = """
import os, pathlib, sys
held = [name for name in os.environ if "KEY" in name or "TOKEN" in name or "PASSWORD" in name]
token = pathlib.Path("/var/run/secrets/kubernetes.io/serviceaccount").exists()
pathlib.Path("/tmp/installed").write_text("crm")
try:
    pathlib.Path("/installed").write_text("crm")
except OSError:
    sys.exit(bool(held or token or os.geteuid() == 0))
sys.exit("the root file system can be written to")
"""


def installing(version: str, program: str) -> dict[str, Any]:
    """Return a version that prepares the organization's CRM with a program."""
    manifest = package(NAMESPACE, version)
    step = {"command": ["python3", "-c", program], "timeoutSeconds": 60}
    need = {"type": "Integration", "name": "crm", "version": "^3", "installation": step}
    manifest["spec"]["dependencies"] = [need]
    return manifest


@pytest.fixture
def umbrella(organizations: Organizations) -> Endpoint:
    """An organization that has a CRM."""
    return organizations.make(NAME, integrations=[{"name": "crm", "version": "3.1.0"}])


async def test_a_version_installs_confined_and_one_that_cannot_gets_no_session(
    kubectl: Kubectl, umbrella: Endpoint
) -> None:
    kubectl.apply(installing("2.0.0", CONFINED))
    ready(kubectl, NAME, NAMESPACE, "2.0.0")

    kubectl.apply(installing("3.0.0", "raise SystemExit(3)"))
    refused = "jsonpath={.status.conditions[?(@.type=='Ready')].reason}=InstallationFailed"
    kubectl("wait", f"--for={refused}", "agpkg/assistant", "-n", NAMESPACE, "--timeout=120s")
    answer = await umbrella.execute("Who answers?")
    assert (answer["status"], answer["version"]) == ("completed", "2.0.0")
    jobs = kubectl.get("jobs", "-n", NAMESPACE)["items"]
    ends = sorted(
        one["type"]
        for job in jobs
        for one in job["status"]["conditions"]
        if one["type"] in {"Complete", "Failed"}
    )
    assert ends == ["Complete", "Failed"]
