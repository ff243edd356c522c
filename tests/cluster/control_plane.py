"""An API server of one's own in a temporary folder, for integration tests and benchmarks.

etcd and kube-apiserver, optionally the controller manager, on free ports: many of them can run
side by side and beside the local cluster, and none needs root.
"""

import subprocess
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

from tests.cluster import binaries, command_lines, probes
from tests.cluster.certificates import Pair
from tests.cluster.identities import Identities
from tests.cluster.processes import Daemon
from tests.cluster.progress import ClusterError, until
from tests.support.ports import free_port

Component = Literal["etcd", "kube-apiserver", "kube-controller-manager"]

_ATTEMPTS = 3
_READY_SECONDS = 90.0
# Made by the API server itself a moment after it is ready, as the last of four.
_LAST_NAMESPACE = "/api/v1/namespaces/default"
# Made by a controller, so it being there shows that they work.
_FIRST_ACCOUNT = "/api/v1/namespaces/default/serviceaccounts/default"
# Without a controller manager nobody makes the service accounts that this plugin asks for.
_WITHOUT_CONTROLLERS = ("--disable-admission-plugins=ServiceAccount",)
# When the process that made the control plane is gone, however it went, its standard input ends
# here and the daemons go too; a test that was killed leaves nothing running.
_REAPER = """
cat >/dev/null
for record in "$1"/pids/*.json; do
  pid=$(sed -n 's/.*"pid": \\([0-9]*\\).*/\\1/p' "$record" 2>/dev/null)
  if [ -n "$pid" ] && tr '\\0' ' ' <"/proc/$pid/cmdline" | grep -qF -- "$1"; then
    kill -KILL "$pid"
  fi
done
"""


class ControlPlane:
    """A context manager around etcd and kube-apiserver whose files lie in `directory`."""

    def __init__(
        self, directory: Path, *, controller_manager: bool = False, fsync: bool = False
    ) -> None:
        self.directory = directory
        self._with_controllers = controller_manager
        self._fsync = fsync
        self._daemons: dict[Component, Daemon] = {}
        self._reaper: subprocess.Popen[bytes] | None = None
        self._url = ""
        self._etcd_port = 0
        directory.mkdir(parents=True, exist_ok=True)
        self._identities = Identities(directory)
        self._admin: Pair = self._identities.administrator()

    @property
    def url(self) -> str:
        """Return the address of the API server."""
        return self._url

    @property
    def kubeconfig(self) -> Path:
        """Return the kubeconfig of an administrator."""
        return self.directory / "admin.conf"

    @property
    def audit_log(self) -> Path:
        """Return the log with one JSON line for every request that was answered."""
        return self.directory / "audit.log"

    @property
    def ca(self) -> Path:
        """Return the certificate of the authority that signed the API server's."""
        return self._identities.authority.certificate

    def start(self) -> Self:
        """Start everything and wait until the API server is ready."""
        names: tuple[Component, ...] = ("etcd", "kube-apiserver")
        if self._with_controllers:
            names = (*names, "kube-controller-manager")
        programs = binaries.ensure(*names)
        self._start_reaper()
        for attempt in range(1, _ATTEMPTS + 1):
            self._configure(programs)
            try:
                self._start_all()
                break
            except ClusterError:
                # A port that was free a moment ago may have been taken by a stranger.
                self._stop_daemons(grace=0)
                if attempt == _ATTEMPTS:
                    raise
        return self

    def stop(self) -> None:
        """Stop everything; the files stay, so that a failed test can be looked into."""
        self._stop_daemons(grace=5.0)
        if self._reaper is not None:
            self._reaper.communicate(b"")
            self._reaper = None

    def kill(self, component: Component) -> None:
        """End one part as a crash would."""
        self._daemons[component].kill()

    def restart(self, component: Component) -> None:
        """Stop one part if it runs, start it again with the same data, wait until all is ready."""
        self._daemons[component].stop()
        self._daemons[component].start()
        self._wait_until_ready()

    def kubeconfig_for(self, namespace: str, service_account: str) -> Path:
        """Return a kubeconfig with which the API server sees this service account."""
        target = self.directory / f"{namespace}.{service_account}.conf"
        return self._identities.kubeconfig_for_service_account(
            target, self.url, namespace, service_account
        )

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def _start_reaper(self) -> None:
        if self._reaper is None:
            self._reaper = subprocess.Popen(
                ["/bin/sh", "-c", _REAPER, "reaper", str(self.directory)],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )

    def _configure(self, programs: dict[str, Path]) -> None:
        ports = command_lines.Ports(*(free_port() for _ in range(4)))
        identity = self._identities.control_plane([])
        self._url = f"https://127.0.0.1:{ports.api}"
        self._etcd_port = ports.etcd
        self._identities.kubeconfig(self.kubeconfig, self._url, self._admin)
        policy = self.directory / "audit-policy.yaml"
        policy.write_text(command_lines.AUDIT_POLICY)
        audit = command_lines.Audit(policy, self.audit_log, megabytes=2000, backups=1)
        lines = {
            "etcd": command_lines.etcd(
                programs["etcd"], self.directory / "etcd", ports, fsync=self._fsync
            ),
            "kube-apiserver": command_lines.api_server(
                programs["kube-apiserver"],
                ports,
                identity,
                audit,
                address="127.0.0.1",
                bind="127.0.0.1",
                extra=() if self._with_controllers else _WITHOUT_CONTROLLERS,
            ),
        }
        if self._with_controllers:
            lines["kube-controller-manager"] = command_lines.controller_manager(
                programs["kube-controller-manager"], ports, identity, self.kubeconfig
            )
        components: tuple[Component, ...] = ("etcd", "kube-apiserver", "kube-controller-manager")
        self._daemons = {
            name: Daemon(name, lines[name], self.directory) for name in components if name in lines
        }

    def _start_all(self) -> None:
        # The controller manager last: it would find no API server and then look only rarely.
        for daemon in self._daemons.values():
            if daemon.name == "kube-controller-manager":
                self._wait_for("The API server is ready", self._serving)
            daemon.start()
        self._wait_until_ready()

    def _wait_until_ready(self) -> None:
        self._wait_for("The API server is ready", self._serving)
        if self._with_controllers:
            self._wait_for("The controllers are at work", self._controllers_at_work)

    def _wait_for(self, what: str, check: Callable[[], bool]) -> None:
        log = self._daemons["kube-apiserver"].log
        until(lambda: self._nothing_ended() and check(), seconds=_READY_SECONDS, what=what, log=log)

    def _nothing_ended(self) -> bool:
        for daemon in self._daemons.values():
            if daemon.record.exists() and not daemon.running():
                raise ClusterError(f"{daemon.name} ended by itself.", log=daemon.log)
        return True

    def _serving(self) -> bool:
        # The API server remembers etcd's health for a while, so etcd is asked itself.
        return probes.succeeds(f"http://127.0.0.1:{self._etcd_port}/health") and all(
            self._get(path) for path in ("/readyz", _LAST_NAMESPACE)
        )

    def _controllers_at_work(self) -> bool:
        return self._get(_FIRST_ACCOUNT)

    def _get(self, path: str) -> bool:
        return probes.succeeds(self.url + path, authority=self.ca, client=self._admin)

    def _stop_daemons(self, *, grace: float) -> None:
        for daemon in reversed(self._daemons.values()):
            daemon.stop(grace=grace)
