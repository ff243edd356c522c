"""The OCI artifact of a version, as an image layout on disk.

Its digest follows from the manifest alone, so the resource can name it before anything is pushed;
registry clients that people have already (oras, skopeo, crane) copy the layout to a registry.
"""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from bulkhead_api.package_manifest import (
    ARTIFACT_TYPE,
    LAYER_MEDIA_TYPE,
    OCI_MANIFEST_MEDIA_TYPE,
    PackageManifest,
)

LAYOUT_FOLDER: Final = "oci"
_EMPTY: Final = b"{}"
_EMPTY_MEDIA_TYPE: Final = "application/vnd.oci.empty.v1+json"


@dataclass(frozen=True, slots=True)
class Artifact:
    """The blobs of an artifact by digest; `digest` is that of its OCI manifest."""

    digest: str
    blobs: dict[str, bytes]
    version: str

    @classmethod
    def of(cls, manifest: PackageManifest) -> "Artifact":
        """Return the artifact that holds a version."""
        layer = manifest.written()
        oci = _canonical(
            {
                "schemaVersion": 2,
                "mediaType": OCI_MANIFEST_MEDIA_TYPE,
                "artifactType": ARTIFACT_TYPE,
                "config": _descriptor(_EMPTY_MEDIA_TYPE, _EMPTY),
                "layers": [_descriptor(LAYER_MEDIA_TYPE, layer)],
            }
        )
        blobs = {digest_of(blob): blob for blob in (_EMPTY, layer, oci)}
        return cls(digest_of(oci), blobs, manifest.version)

    def files(self) -> dict[str, bytes]:
        """Return the image layout: path within it, and content."""
        oci = self.blobs[self.digest]
        index = {
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.index.v1+json",
            "manifests": [
                {
                    **_descriptor(OCI_MANIFEST_MEDIA_TYPE, oci),
                    "artifactType": ARTIFACT_TYPE,
                    "annotations": {"org.opencontainers.image.ref.name": self.version},
                }
            ],
        }
        return {
            "oci-layout": _canonical({"imageLayoutVersion": "1.0.0"}),
            "index.json": _canonical(index),
            **{str(Path("blobs", *digest.split(":"))): blob for digest, blob in self.blobs.items()},
        }


def digest_of(content: bytes) -> str:
    """Return `sha256:` and the digest of bytes."""
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def _descriptor(media_type: str, content: bytes) -> dict[str, Any]:
    return {"mediaType": media_type, "digest": digest_of(content), "size": len(content)}


def _canonical(content: dict[str, Any]) -> bytes:
    return json.dumps(content, sort_keys=True, separators=(",", ":")).encode()
