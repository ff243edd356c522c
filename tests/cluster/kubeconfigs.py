"""Kubeconfig files with everything inside, so that they can be handed to any process."""

import base64
from pathlib import Path

import yaml

from tests.cluster.certificates import Authority, write_private


def write(target: Path, server: str, authority: Authority, certificate: bytes, key: bytes) -> Path:
    """Write a kubeconfig for the holder of a client certificate, unless it is there already."""
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "bulkhead",
        "clusters": [
            {
                "name": "bulkhead",
                "cluster": {
                    "server": server,
                    "certificate-authority-data": _encoded(authority.certificate.read_bytes()),
                },
            }
        ],
        "users": [
            {
                "name": "bulkhead",
                "user": {
                    "client-certificate-data": _encoded(certificate),
                    "client-key-data": _encoded(key),
                },
            }
        ],
        "contexts": [{"name": "bulkhead", "context": {"cluster": "bulkhead", "user": "bulkhead"}}],
    }
    content = yaml.safe_dump(config, sort_keys=False).encode()
    if not target.exists() or target.read_bytes() != content:
        target.parent.mkdir(parents=True, exist_ok=True)
        write_private(target, content)
    return target


def _encoded(content: bytes) -> str:
    return base64.b64encode(content).decode()
