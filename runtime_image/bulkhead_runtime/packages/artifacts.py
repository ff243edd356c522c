"""Fetches the artifact of a version: its OCI manifest by digest, and the one layer in that.

Every byte is compared with the digest that names it, whether it comes from a registry or from the
runtime's own volume, where it is kept so that a restart does not depend on a registry.
"""

import asyncio
import hashlib
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Final

import orjson

from bulkhead_api.package_manifest import (
    LAYER_MEDIA_TYPE,
    MAX_MANIFEST_BYTES,
    OCI_MANIFEST_MEDIA_TYPE,
)
from bulkhead_api.v1alpha1.package_source import OciSource
from bulkhead_api.v1alpha1.tools import Tools
from bulkhead_runtime.packages.blobs import Blobs
from bulkhead_runtime.packages.errors import SourceError
from bulkhead_runtime.tools.errors import ToolError

if TYPE_CHECKING:
    from bulkhead_runtime.packages.registry import Login, Registry
    from bulkhead_runtime.tools.web.access import Way

MAX_OCI_MANIFEST_BYTES: Final = 64 * 1024
PULL_SECONDS: Final = 30.0
_MAX_SECRET_BYTES: Final = 1024 * 1024
_DIGEST: Final = re.compile(r"sha256:[0-9a-f]{64}")


class Artifacts:
    """Fetches artifacts; `registries` holds the mounted pull Secrets."""

    def __init__(
        self, registries: Path, blobs: Blobs, way_to: Callable[[str, Tools], "Way"]
    ) -> None:
        self._registries = registries
        self._blobs = blobs
        self._way_to = way_to

    async def fetch(self, source: OciSource, settings: Tools) -> bytes:
        """Return the manifest of a version; raise `SourceError` where it cannot be had.

        `settings` say which private hosts are opened.
        """
        digest = source.reference.rpartition("@")[2]
        try:
            registry = self._registry(source, settings)
            async with asyncio.timeout(PULL_SECONDS):
                oci = await self._read(
                    registry, "manifests", digest, OCI_MANIFEST_MEDIA_TYPE, MAX_OCI_MANIFEST_BYTES
                )
                return await self._read(registry, "blobs", _layer(oci), "*/*", MAX_MANIFEST_BYTES)
        except ToolError as error:
            raise SourceError(error.message) from error
        except TimeoutError:
            raise SourceError(
                f"registry {registry.host} did not hand it out within {PULL_SECONDS:g} seconds"
            ) from None

    def _registry(self, source: OciSource, settings: Tools) -> "Registry":
        from bulkhead_runtime.packages.registry import Registry  # noqa: PLC0415 (aiohttp)

        location = source.reference.rpartition("@")[0]
        host, _, repository = location.partition("/")
        login = self._login(source, host)
        return Registry(host, repository, lambda name: self._way_to(name, settings), login)

    async def _read(
        self, registry: "Registry", kind: str, digest: str, media_type: str, max_bytes: int
    ) -> bytes:
        kept = await asyncio.to_thread(self._blobs.get, digest)
        if kept is not None and len(kept) <= max_bytes:
            return kept
        content = await registry.read(kind, digest, media_type, max_bytes)
        if digest_of(content) != digest:
            raise SourceError(
                f"what the registry hands out is not {digest}: it was damaged or tampered with, "
                "and is not used"
            )
        await asyncio.to_thread(self._blobs.put, digest, content)
        return content

    def _login(self, source: OciSource, host: str) -> "Login | None":
        from bulkhead_runtime.packages.registry import login_of  # noqa: PLC0415 (aiohttp)

        if source.pull_secret_name is None:
            return None
        try:
            with (self._registries / source.pull_secret_name).open("rb") as file:
                content = file.read(_MAX_SECRET_BYTES)
        except OSError:
            raise SourceError(
                f"the Secret {source.pull_secret_name!r} that spec.source.oci.pullSecretName names "
                "is not mounted: create it in the package's namespace with the type "
                "kubernetes.io/dockerconfigjson"
            ) from None
        return login_of(content, host)


def digest_of(content: bytes) -> str:
    """Return `sha256:` and the digest of bytes."""
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def _layer(oci: bytes) -> str:
    """Return the digest of the one layer; raise `SourceError` for any other artifact."""
    try:
        (layer,) = orjson.loads(oci)["layers"]
        media_type, digest = layer["mediaType"], layer["digest"]
    except (orjson.JSONDecodeError, KeyError, TypeError, ValueError):
        raise SourceError("the artifact is no package: it must have one layer") from None
    if (
        media_type != LAYER_MEDIA_TYPE
        or not isinstance(digest, str)
        or not _DIGEST.fullmatch(digest)
    ):
        raise SourceError(
            f"the artifact is no package: its layer must be of type {LAYER_MEDIA_TYPE} and named "
            "by SHA-256; push what the packaging command writes"
        )
    return digest
