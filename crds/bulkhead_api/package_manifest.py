"""The manifest of a version: agents and tools as a file, for a ConfigMap or an OCI artifact.

The packaging command writes it, the operator reads it from a ConfigMap, the runtime from a
registry. No API server has checked what is in it, so everything is checked here. Its checksum is
over its content, so that a file that was cut or edited is known as such.
"""

import json
from typing import Annotated, Any, Final, Self

from pydantic import Field, ValidationError, model_validator

from bulkhead_api.runtime_config import PackageDocument
from bulkhead_api.schema import ApiModel
from bulkhead_api.v1alpha1.agents import Agent, HttpTool
from bulkhead_api.v1alpha1.patterns import DNS_LABEL, SEMVER

MAX_MANIFEST_BYTES: Final = 900 * 1024
"""What fits into a ConfigMap with room for the rest of it."""

LAYER_MEDIA_TYPE: Final = "application/vnd.bulkhead.package.v1+json"
"""Of the one layer of an OCI artifact, which is the manifest's bytes."""

ARTIFACT_TYPE: Final = "application/vnd.bulkhead.package.v1"
OCI_MANIFEST_MEDIA_TYPE: Final = "application/vnd.oci.image.manifest.v1+json"


class ManifestError(Exception):
    """A manifest cannot be used; the message says why and never holds its text."""


class PackageManifest(ApiModel):
    """One version of one package."""

    package: Annotated[str, Field(min_length=1, max_length=63, pattern=DNS_LABEL)]
    version: Annotated[str, Field(min_length=5, max_length=64, pattern=SEMVER)]
    checksum: Annotated[str, Field(min_length=71, max_length=71, pattern=r"^sha256:[0-9a-f]{64}$")]
    agents: Annotated[tuple[Agent, ...], Field(min_length=1, max_length=16)]
    tools: Annotated[tuple[HttpTool, ...], Field(max_length=32)] = ()

    @classmethod
    def of(
        cls, package: str, version: str, agents: tuple[Agent, ...], tools: tuple[HttpTool, ...]
    ) -> Self:
        """Return the manifest of a content; raise pydantic's error where that is out of bounds."""
        checksum = PackageDocument.of(package, version, agents, tools).checksum
        return cls(package=package, version=version, checksum=checksum, agents=agents, tools=tools)

    @model_validator(mode="after")
    def _distinct(self) -> Self:
        for what, names in (
            ("agents", [agent.name for agent in self.agents]),
            ("tools", [tool.name for tool in self.tools]),
        ):
            twice = sorted({name for name in names if names.count(name) > 1})
            if twice:
                raise ValueError(f"two {what} have the name {twice[0]!r}")
        return self

    def written(self) -> bytes:
        """Return the file; the same content makes the same bytes."""
        content = self.model_dump(by_alias=True, exclude_defaults=True, mode="json")
        return json.dumps(content, sort_keys=True, indent=1, ensure_ascii=False).encode() + b"\n"

    def intact(self) -> bool:
        """Tell whether the content is what the checksum says."""
        document = PackageDocument.of(self.package, self.version, self.agents, self.tools)
        return document.checksum == self.checksum


def read(raw: bytes, *, package: str, version: str) -> PackageManifest:
    """Return the manifest of this version of this package; raise `ManifestError` for another."""
    manifest = parse(raw)
    if (manifest.package, manifest.version) != (package, version):
        raise ManifestError(
            f"it is {manifest.package} {manifest.version}, not {package} {version}: name the "
            "version that it holds in spec.version, or take its manifest"
        )
    return manifest


def parse(raw: bytes) -> PackageManifest:
    """Return the manifest that a file holds; raise `ManifestError` where it holds none."""
    if len(raw) > MAX_MANIFEST_BYTES:
        raise ManifestError(f"it has {len(raw)} bytes, at most {MAX_MANIFEST_BYTES} are allowed")
    try:
        manifest = PackageManifest.model_validate_json(raw)
    except ValidationError as error:
        raise ManifestError(reason(error)) from None
    if not manifest.intact():
        raise ManifestError(
            "its content does not match its checksum: it was damaged, or edited after it was "
            "written; write it again with the packaging command"
        )
    return manifest


def reason(error: ValidationError) -> str:
    """Return where and why something is not valid, without the value."""
    first: Any = error.errors(include_url=False, include_context=False, include_input=False)[0]
    place = ".".join(str(part) for part in first["loc"]) or "the manifest"
    return f"{place}: {first['msg']}"
