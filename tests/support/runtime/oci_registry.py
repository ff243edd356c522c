"""A real OCI registry: Debian's docker-registry (distribution), over plain HTTP in a folder."""

import base64
import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import aiohttp

from bulkhead_api.package_manifest import OCI_MANIFEST_MEDIA_TYPE, PackageManifest
from bulkhead_operator.packaging.artifact import Artifact, digest_of
from tests.support.servers import Server, binary

REPOSITORY = "agents/support"
LOGIN = ("puller", "pull-secret-of-tests")
_HTPASSWD = "puller:$2b$04$abcdefghijklmnopqrstuuTbidyBZdhXtI/MVfgh.4ELpzgAf8nmS"
"""That login, as bcrypt hashes it."""


PRIVATE_ADDRESS = f"10.213.{os.getpid() // 250 % 250}.{os.getpid() % 250 + 1}"
"""What `lent_address` makes an address of this machine, other for every process of tests."""


@contextmanager
def lent_address() -> Iterator[str]:
    """Give the machine an address that tools may reach once its host is opened to them.

    A machine need not have one in a private network. Loopback ones stay closed to tools.
    """
    ip = binary("ip", "iproute2", "usr/sbin")
    subprocess.run([ip, "address", "replace", f"{PRIVATE_ADDRESS}/32", "dev", "lo"], check=True)
    try:
        yield PRIVATE_ADDRESS
    finally:
        subprocess.run([ip, "address", "delete", f"{PRIVATE_ADDRESS}/32", "dev", "lo"], check=True)


class OciRegistry:
    """One registry; a `guarded` one lets in `LOGIN` and nobody else."""

    def __init__(self, address: str, *, guarded: bool) -> None:
        self.server = Server("registry", user="docker-registry")
        self.host = f"{address}:{self.server.port}"
        self._guarded = guarded
        self._storage = self.server.folder / "storage"
        self._config = self.server.folder / "config.json"
        self._configure()
        self.start()

    def start(self) -> None:
        """Start it with what it holds."""
        program = binary("docker-registry", "docker-registry", "usr/bin")
        self.server.launch([program, "serve", self._config], self.server.listens)

    def stop(self) -> None:
        """End it."""
        self.server.stop()

    async def push(self, manifest: PackageManifest) -> str:
        """Push a version as the packaging command writes it; return the pinned reference."""
        artifact = Artifact.of(manifest)
        blobs = [blob for digest, blob in artifact.blobs.items() if digest != artifact.digest]
        return await self.push_blobs(artifact.blobs[artifact.digest], *blobs)

    async def push_blobs(self, oci: bytes, *blobs: bytes) -> str:
        """Push any artifact; return its pinned reference."""
        shown = {"Authorization": aiohttp.encode_basic_auth(*LOGIN)} if self._guarded else {}
        async with aiohttp.ClientSession(f"http://{self.host}", headers=shown) as http:
            for blob in blobs:
                uploads = f"/v2/{REPOSITORY}/blobs/uploads/"
                async with http.post(uploads) as begun:
                    where = begun.headers["Location"]
                where += f"{'&' if '?' in where else '?'}digest={digest_of(blob)}"
                async with http.put(where, data=blob) as stored:
                    assert stored.status == 201, await stored.text()
            headers = {"Content-Type": OCI_MANIFEST_MEDIA_TYPE}
            path = f"/v2/{REPOSITORY}/manifests/{digest_of(oci)}"
            async with http.put(path, data=oci, headers=headers) as stored:
                assert stored.status == 201, await stored.text()
        return f"{self.host}/{REPOSITORY}@{digest_of(oci)}"

    def tamper(self, digest: str) -> None:
        """Change a byte of what is stored under a digest, as who has the disk can."""
        name = digest.removeprefix("sha256:")
        path = self._storage / "docker/registry/v2/blobs/sha256" / name[:2] / name / "data"
        content = path.read_bytes()
        path.write_bytes(content[:-2] + b" " + content[-1:])
        assert path.read_bytes() != content

    def docker_config(self, *, password: str | None = None) -> bytes:
        """Return what a pull Secret holds."""
        pair = f"{LOGIN[0]}:{password or LOGIN[1]}"
        auth = base64.b64encode(pair.encode()).decode()
        return json.dumps({"auths": {self.host: {"auth": auth}}}).encode()

    def _configure(self) -> None:
        config: dict[str, object] = {
            "version": 0.1,
            "log": {"level": "error"},
            "storage": {"filesystem": {"rootdirectory": str(self._storage)}},
            "http": {"addr": f"0.0.0.0:{self.server.port}"},
        }
        if self._guarded:
            htpasswd = self.server.folder / "htpasswd"
            htpasswd.write_text(f"{_HTPASSWD}\n")
            config["auth"] = {"htpasswd": {"realm": "registry", "path": str(htpasswd)}}
        self._config.write_text(json.dumps(config))


@contextmanager
def oci_registry(address: str = "127.0.0.1", *, guarded: bool = False) -> Iterator[OciRegistry]:
    """Run a registry, at the start empty."""
    registry = OciRegistry(address, guarded=guarded)
    try:
        yield registry
    finally:
        registry.server.close()


def folder_of(directory: Path, name: str, content: bytes) -> Path:
    """Mount a pull Secret; return the folder of all of them."""
    folder = directory / "registries"
    folder.mkdir(exist_ok=True, parents=True)
    (folder / name).write_bytes(content)
    return folder
