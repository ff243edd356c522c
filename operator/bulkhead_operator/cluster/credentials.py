"""Who we are to the API server: the pod's service account, or a kubeconfig outside of a cluster.

Only what can be checked offline is supported: a token, a token file or a client certificate. A
kubeconfig that asks for a plugin or for no verification is refused, with the remedy.
"""

import base64
import os
import ssl
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

SERVICE_ACCOUNT: Final = Path("/var/run/secrets/kubernetes.io/serviceaccount")
TOKEN_SECONDS: Final = 60.0
"""How long a token is used before its file is read again; the kubelet renews it hourly."""


class CredentialsError(Exception):
    """There is no way to reach the API server with what the environment offers."""


class Token:
    """A bearer token; one from a file is read again every minute and when it was refused."""

    def __init__(
        self,
        *,
        value: str = "",
        file: Path | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._value = value
        self._file = file
        self._clock = clock
        self._read_at = float("-inf")

    def __repr__(self) -> str:
        return "Token(...)"

    def current(self) -> str:
        """Return the token to send, empty for none."""
        if self._file is not None and self._clock() - self._read_at >= TOKEN_SECONDS:
            self._read_at = self._clock()
            # A file that is just being replaced must not take the token away.
            self._value = _text(self._file) or self._value
        return self._value

    def refused(self) -> None:
        """Read the file again at the next use: the API server did not accept the token."""
        self._read_at = float("-inf")


@dataclass(frozen=True)
class Credentials:
    """Address, trust and identity; secrets never show in its representation."""

    server: str
    token: Token = field(default_factory=Token)
    authority: bytes | None = None
    certificate: bytes | None = field(default=None, repr=False)
    private_key: bytes | None = field(default=None, repr=False)

    def tls(self) -> ssl.SSLContext:
        """Return the TLS context: the cluster's authority, and our certificate if there is one."""
        authority = self.authority.decode() if self.authority else None
        context = ssl.create_default_context(cadata=authority)
        if self.certificate and self.private_key:
            # ssl reads certificates from files only; they are there for this moment.
            with tempfile.NamedTemporaryFile(prefix="bulkhead-") as chain:
                chain.write(self.certificate + b"\n" + self.private_key)
                chain.flush()
                context.load_cert_chain(chain.name)
        return context


def load(environment: Mapping[str, str] = os.environ) -> Credentials:
    """Return KUBECONFIG's credentials, else the service account's; raises `CredentialsError`."""
    if environment.get("KUBECONFIG"):
        return from_kubeconfig(Path(environment["KUBECONFIG"]))
    if environment.get("KUBERNETES_SERVICE_HOST"):
        return from_service_account(environment, SERVICE_ACCOUNT)
    raise CredentialsError(
        "neither KUBECONFIG nor KUBERNETES_SERVICE_HOST is set: run in a pod with a service "
        "account token, or set KUBECONFIG to a file"
    )


def from_service_account(environment: Mapping[str, str], directory: Path) -> Credentials:
    """Return the credentials that the kubelet mounted at `directory`."""
    host = environment["KUBERNETES_SERVICE_HOST"]
    if ":" in host:
        host = f"[{host}]"
    port = environment.get("KUBERNETES_SERVICE_PORT", "443")
    authority = directory / "ca.crt"
    if not authority.is_file():
        raise CredentialsError(
            f"{authority} is missing: set automountServiceAccountToken: true on the operator's pod"
        )
    return Credentials(
        server=f"https://{host}:{port}",
        token=Token(file=directory / "token"),
        authority=authority.read_bytes(),
    )


def from_kubeconfig(path: Path) -> Credentials:
    """Return the credentials of a kubeconfig's current context."""
    import yaml  # noqa: PLC0415 (in a cluster there is no kubeconfig, and no need to import)

    try:
        document = yaml.safe_load(path.read_text())
        context = _named(document, "contexts", "context", document["current-context"])
        cluster = _named(document, "clusters", "cluster", context["cluster"])
        user = _named(document, "users", "user", context["user"])
    except (OSError, KeyError, TypeError, yaml.YAMLError) as error:
        raise CredentialsError(
            f"KUBECONFIG {path} is not readable ({type(error).__name__}): it needs a "
            "current-context with its cluster and user"
        ) from error
    _check_supported(path, cluster, user)
    folder = path.parent
    return Credentials(
        server=cluster["server"].rstrip("/"),
        token=_token(user, folder),
        authority=_content(cluster, "certificate-authority", folder),
        certificate=_content(user, "client-certificate", folder),
        private_key=_content(user, "client-key", folder),
    )


def _check_supported(path: Path, cluster: Mapping[str, Any], user: Mapping[str, Any]) -> None:
    if cluster.get("insecure-skip-tls-verify"):
        raise CredentialsError(
            f"KUBECONFIG {path} sets insecure-skip-tls-verify: give certificate-authority instead"
        )
    for plugin in ("exec", "auth-provider"):
        if plugin in user:
            raise CredentialsError(
                f"KUBECONFIG {path} uses a user with {plugin!r}: give a token or a client "
                "certificate instead"
            )


def _named(document: Mapping[str, Any], section: str, item: str, name: str) -> Mapping[str, Any]:
    for entry in document[section]:
        if entry["name"] == name:
            found: Mapping[str, Any] = entry[item] or {}
            return found
    raise KeyError(name)


def _token(user: Mapping[str, Any], folder: Path) -> Token:
    if "tokenFile" in user:
        return Token(file=folder.joinpath(user["tokenFile"]))
    return Token(value=user.get("token", ""))


def _content(section: Mapping[str, Any], name: str, folder: Path) -> bytes | None:
    if f"{name}-data" in section:
        return base64.b64decode(section[f"{name}-data"])
    if name in section:
        return folder.joinpath(section[name]).read_bytes()
    return None


def _text(file: Path) -> str:
    try:
        return file.read_text().strip()
    except OSError:
        return ""
