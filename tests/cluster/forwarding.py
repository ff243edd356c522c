"""Reaches a Service of a cluster that does not run on this machine, by a port kept open."""

import re
from pathlib import Path

from tests.cluster.kubectl import Kubectl
from tests.cluster.processes import Daemon, records, stop_recorded
from tests.cluster.progress import ClusterError, until

_PREFIX = "forward-"
_OPEN_SECONDS = 20.0
_OPENED = re.compile(r"Forwarding from 127\.0\.0\.1:(\d+)")


def url(kubectl: Kubectl, state: Path, namespace: str, service: str) -> str:
    """Return an address of this machine that leads to the Service until `down`.

    The connection leads to one pod; when that pod is replaced it ends, and asking for the
    address again opens a new one.
    """
    command = kubectl.argv("port-forward", f"--namespace={namespace}", f"service/{service}", ":80")
    daemon = Daemon(f"{_PREFIX}{namespace}", [str(part) for part in command], state)
    if not daemon.running():
        daemon.log.unlink(missing_ok=True)
    daemon.start()

    def opened() -> bool:
        if not daemon.running():
            raise ClusterError("The port could not be forwarded.", log=daemon.log)
        return daemon.log.exists() and _OPENED.search(daemon.log.read_text()) is not None

    until(opened, seconds=_OPEN_SECONDS, what="The port is open", log=daemon.log)
    found = _OPENED.search(daemon.log.read_text())
    assert found is not None
    return f"http://127.0.0.1:{found[1]}"


def close(state: Path) -> None:
    """Close all ports; processes of a local cluster that share the folder are left alone."""
    for record in records(state):
        if record.name.startswith(_PREFIX):
            stop_recorded(record, grace=2.0)
