"""Who we are to the API server, and what is refused with a remedy."""

import base64
from pathlib import Path
from typing import Any

import pytest
import yaml

from bulkhead_operator.cluster.credentials import (
    CredentialsError,
    Token,
    from_kubeconfig,
    from_service_account,
    load,
)


def kubeconfig(path: Path, *, user: dict[str, Any], **cluster: Any) -> Path:
    document = {
        "current-context": "here",
        "contexts": [{"name": "here", "context": {"cluster": "c", "user": "u"}}],
        "clusters": [{"name": "c", "cluster": {"server": "https://host:6443/", **cluster}}],
        "users": [{"name": "u", "user": user}],
    }
    path.write_text(yaml.safe_dump(document))
    return path


def test_a_kubeconfig_gives_data_and_files_next_to_it(tmp_path: Path) -> None:
    (tmp_path / "key.pem").write_text("key")
    encoded = base64.b64encode(b"cert").decode()
    path = kubeconfig(
        tmp_path / "config",
        user={"client-certificate-data": encoded, "client-key": "key.pem"},
    )
    found = from_kubeconfig(path)
    assert found.server == "https://host:6443"
    assert (found.certificate, found.private_key) == (b"cert", b"key")
    assert "cert" not in repr(found).replace("certificate", "")


@pytest.mark.parametrize(
    ("user", "cluster", "remedy"),
    [
        ({"exec": {}}, {}, "give a token or a client certificate"),
        ({}, {"insecure-skip-tls-verify": True}, "give certificate-authority"),
    ],
    ids=["a plugin", "no verification"],
)
def test_what_is_not_safe_is_refused_with_the_remedy(
    tmp_path: Path, user: dict[str, Any], cluster: dict[str, Any], remedy: str
) -> None:
    with pytest.raises(CredentialsError, match=remedy):
        from_kubeconfig(kubeconfig(tmp_path / "config", user=user, **cluster))


@pytest.mark.parametrize("content", ["", "[", "a: b", "current-context: x\ncontexts: []"])
def test_a_broken_kubeconfig_is_refused_by_name(tmp_path: Path, content: str) -> None:
    path = tmp_path / "config"
    path.write_text(content)
    with pytest.raises(CredentialsError, match=str(path)):
        load({"KUBECONFIG": str(path)})


def test_an_environment_without_a_cluster_says_what_to_set() -> None:
    with pytest.raises(CredentialsError, match="KUBECONFIG"):
        load({})


def test_a_service_account_needs_its_mounted_files(tmp_path: Path) -> None:
    environment = {"KUBERNETES_SERVICE_HOST": "fd00::1", "KUBERNETES_SERVICE_PORT": "443"}
    with pytest.raises(CredentialsError, match="automountServiceAccountToken"):
        from_service_account(environment, tmp_path)
    (tmp_path / "ca.crt").write_text("ca")
    (tmp_path / "token").write_text("secret-token\n")
    found = from_service_account(environment, tmp_path)
    assert found.server == "https://[fd00::1]:443"
    assert found.token.current() == "secret-token"
    assert "secret-token" not in repr(found)


def test_a_token_is_read_again_after_a_minute_and_survives_a_missing_file(tmp_path: Path) -> None:
    now = [0.0]
    file = tmp_path / "token"
    file.write_text("one")
    token = Token(file=file, clock=lambda: now[0])
    assert token.current() == "one"
    file.write_text("two")
    assert token.current() == "one"
    now[0] = 61
    assert token.current() == "two"
    file.unlink()
    now[0] = 122
    assert token.current() == "two"
