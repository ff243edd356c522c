"""Makes the keys of a control plane in one folder, and kubeconfigs for those who call it."""

from collections.abc import Sequence
from pathlib import Path

from tests.cluster import kubeconfigs
from tests.cluster.certificates import Authority, Pair, signing_key
from tests.cluster.command_lines import API_SERVICE_ADDRESS, Identity
from tests.cluster.progress import ClusterError

# The most that a certificate's common name can hold.
_LONGEST_USER = 64


class Identities:
    """All keys below FOLDER/pki; the same folder gives the same keys again."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "pki"
        self.authority = Authority(self.folder)
        self._front_proxy = Authority(self.folder, "front-proxy-ca")

    def control_plane(self, addresses: Sequence[str]) -> Identity:
        """Return what the API server needs to serve at `addresses`."""
        hosts = [
            "localhost",
            "kubernetes",
            "kubernetes.default",
            "kubernetes.default.svc",
            "kubernetes.default.svc.cluster.local",
            "127.0.0.1",
            API_SERVICE_ADDRESS,
            *(address for address in addresses if address != "127.0.0.1"),
        ]
        return Identity(
            authority=self.authority.certificate,
            authority_key=self.authority.key,
            serving=self.authority.issue("apiserver", "kube-apiserver", hosts=hosts),
            signing_key=signing_key(self.folder / "service-accounts.key"),
            kubelet_client=self.authority.issue(
                "kubelet-client", "kube-apiserver-kubelet-client", groups=["system:masters"]
            ),
            front_proxy_authority=self._front_proxy.certificate,
            front_proxy=self._front_proxy.issue("front-proxy-client", "front-proxy-client"),
        )

    def administrator(self) -> Pair:
        """Return the certificate of one who may do everything."""
        return self.authority.issue("admin", "admin", groups=["system:masters"])

    def kubeconfig(self, target: Path, server: str, holder: Pair) -> Path:
        """Write a kubeconfig for the holder of a certificate."""
        content = holder.certificate.read_bytes(), holder.key.read_bytes()
        return kubeconfigs.write(target, server, self.authority, *content)

    def kubeconfig_for_service_account(
        self, target: Path, server: str, namespace: str, name: str
    ) -> Path:
        """Write a kubeconfig whose holder the API server takes for a service account.

        A certificate instead of a token: the account need not exist, and nothing expires.
        """
        user = f"system:serviceaccount:{namespace}:{name}"
        if len(user) > _LONGEST_USER:
            raise ClusterError(
                f"{user} is longer than the {_LONGEST_USER} of a certificate's name."
            )
        groups = ["system:serviceaccounts", f"system:serviceaccounts:{namespace}"]
        certificate, key = self.authority.sign(user, groups=groups)
        return kubeconfigs.write(target, server, self.authority, certificate, key)
