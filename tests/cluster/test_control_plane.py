"""A control plane of one's own: it comes, survives the loss of its parts, and goes entirely."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster import places, processes
from tests.cluster.control_plane import Component, ControlPlane
from tests.cluster.kubectl import Kubectl
from tests.cluster.progress import until


@pytest.fixture(scope="module")
def plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    with ControlPlane(tmp_path_factory.mktemp("plane")) as made:
        yield made


@pytest.fixture
def kubectl(plane: ControlPlane) -> Kubectl:
    return Kubectl(plane.kubeconfig)


@pytest.mark.parametrize("component", ["etcd", "kube-apiserver"])
def test_what_was_written_outlives_a_killed_part(
    plane: ControlPlane, kubectl: Kubectl, component: Component
) -> None:
    kubectl.run("create", "configmap", component, "--from-literal=kept=yes")
    plane.kill(component)
    plane.restart(component)
    assert kubectl.get("configmap", component)["data"] == {"kept": "yes"}


def test_a_service_account_is_itself_and_may_nothing_by_default(plane: ControlPlane) -> None:
    account = Kubectl(plane.kubeconfig_for("some-namespace", "some-account"))
    user = json.loads(account.run("auth", "whoami", "--output=json"))["status"]["userInfo"]
    assert user["username"] == "system:serviceaccount:some-namespace:some-account"
    assert "system:serviceaccounts:some-namespace" in user["groups"]
    assert not account.succeeds("get", "secrets", "--all-namespaces")


def test_every_request_is_in_the_audit_log_once(plane: ControlPlane, kubectl: Kubectl) -> None:
    kubectl.run("create", "configmap", "counted")

    def writes() -> int:
        # What comes after the last end of a line is still being written.
        lines = plane.audit_log.read_text().split("\n")[:-1]
        events = [json.loads(line) for line in lines]
        return sum(
            event["verb"] == "create" and event["objectRef"].get("name") == "counted"
            for event in events
            if "objectRef" in event
        )

    until(lambda: writes() == 1, seconds=60, what="the write is in the audit log")


_LEFT_ALONE = """
import os, sys
from pathlib import Path
from tests.cluster.control_plane import ControlPlane
ControlPlane(Path(sys.argv[1])).start()
os.kill(os.getpid(), 9)
"""


def test_nothing_outlives_a_test_that_was_killed(tmp_path: Path) -> None:
    argv = [sys.executable, "-c", _LEFT_ALONE, str(tmp_path)]
    subprocess.run(argv, cwd=places.ROOT, check=False)
    records = processes.records(tmp_path)
    assert len(records) == 2
    until(
        lambda: not any(processes.recorded_pid(record) for record in records),
        seconds=60,
        what="the daemons of the killed test are gone",
    )
