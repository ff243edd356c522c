"""The command lines of Kubernetes' own daemons: pure, shared by the local cluster and the tests."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.cluster.certificates import Pair

SERVICE_RANGE = "10.96.0.0/16"
API_SERVICE_ADDRESS = "10.96.0.1"
DNS_SERVICE_ADDRESS = "10.96.0.10"
POD_RANGE = "10.244.0.0/16"

# Every request once, when it is answered: enough to count writes and to compare roles with calls.
AUDIT_POLICY = """\
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
- level: Metadata
"""


@dataclass(frozen=True)
class Ports:
    """Where the control plane listens."""

    api: int
    etcd: int
    etcd_peer: int
    controller_manager: int = 10257


@dataclass(frozen=True)
class Identity:
    """The keys with which an API server serves, signs and calls others."""

    authority: Path
    authority_key: Path
    serving: Pair
    signing_key: Path
    kubelet_client: Pair
    front_proxy_authority: Path
    front_proxy: Pair


@dataclass(frozen=True)
class Audit:
    """Where the audit log goes and when it is rotated."""

    policy: Path
    log: Path
    megabytes: int
    backups: int


def etcd(binary: Path, data: Path, ports: Ports, *, fsync: bool) -> tuple[str, ...]:
    """Return the command line of a single etcd that only this machine can reach."""
    client = f"http://127.0.0.1:{ports.etcd}"
    peer = f"http://127.0.0.1:{ports.etcd_peer}"
    flags = [
        f"--data-dir={data}",
        "--name=bulkhead",
        f"--listen-client-urls={client}",
        f"--advertise-client-urls={client}",
        f"--listen-peer-urls={peer}",
        f"--initial-advertise-peer-urls={peer}",
        f"--initial-cluster=bulkhead={peer}",
        "--auto-compaction-retention=1h",
        "--quota-backend-bytes=4294967296",
        "--logger=zap",
        "--log-level=warn",
    ]
    if not fsync:
        flags.append("--unsafe-no-fsync")
    return (str(binary), *flags)


def api_server(
    binary: Path,
    ports: Ports,
    identity: Identity,
    audit: Audit,
    *,
    address: str,
    bind: str,
    extra: Sequence[str] = (),
) -> tuple[str, ...]:
    """Return the command line of a kube-apiserver with RBAC, audit log and aggregation."""
    return (
        str(binary),
        f"--etcd-servers=http://127.0.0.1:{ports.etcd}",
        f"--secure-port={ports.api}",
        f"--bind-address={bind}",
        f"--advertise-address={address}",
        f"--service-cluster-ip-range={SERVICE_RANGE}",
        "--authorization-mode=Node,RBAC",
        "--enable-admission-plugins=NodeRestriction",
        "--allow-privileged=true",
        # Debian's etcd cannot report progress, and without it a watch from version 0 (kwok's, and
        # every older client's) would be taken for a streamed list and refused.
        "--feature-gates=WatchList=false",
        f"--client-ca-file={identity.authority}",
        f"--tls-cert-file={identity.serving.certificate}",
        f"--tls-private-key-file={identity.serving.key}",
        "--service-account-issuer=https://kubernetes.default.svc",
        f"--service-account-signing-key-file={identity.signing_key}",
        f"--service-account-key-file={identity.signing_key}",
        f"--kubelet-client-certificate={identity.kubelet_client.certificate}",
        f"--kubelet-client-key={identity.kubelet_client.key}",
        "--kubelet-preferred-address-types=InternalIP",
        f"--requestheader-client-ca-file={identity.front_proxy_authority}",
        "--requestheader-allowed-names=front-proxy-client",
        "--requestheader-username-headers=X-Remote-User",
        "--requestheader-group-headers=X-Remote-Group",
        "--requestheader-extra-headers-prefix=X-Remote-Extra-",
        f"--proxy-client-cert-file={identity.front_proxy.certificate}",
        f"--proxy-client-key-file={identity.front_proxy.key}",
        f"--audit-policy-file={audit.policy}",
        f"--audit-log-path={audit.log}",
        f"--audit-log-maxsize={audit.megabytes}",
        f"--audit-log-maxbackup={audit.backups}",
        *extra,
    )


def controller_manager(
    binary: Path, ports: Ports, identity: Identity, kubeconfig: Path, *, extra: Sequence[str] = ()
) -> tuple[str, ...]:
    """Return the command line of a kube-controller-manager that need not win an election."""
    return (
        str(binary),
        f"--kubeconfig={kubeconfig}",
        f"--secure-port={ports.controller_manager}",
        "--bind-address=127.0.0.1",
        "--leader-elect=false",
        "--use-service-account-credentials=true",
        f"--root-ca-file={identity.authority}",
        f"--service-account-private-key-file={identity.signing_key}",
        f"--cluster-signing-cert-file={identity.authority}",
        f"--cluster-signing-key-file={identity.authority_key}",
        *extra,
    )


def scheduler(binary: Path, kubeconfig: Path) -> tuple[str, ...]:
    """Return the command line of a kube-scheduler that need not win an election."""
    return (
        str(binary),
        f"--kubeconfig={kubeconfig}",
        "--bind-address=127.0.0.1",
        "--leader-elect=false",
    )
