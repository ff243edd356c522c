"""The content that a package's spec asks for, wherever in the namespace it lies.

A ConfigMap is read by name, once per version and again at every resync: its content is as immutable
as the version that it belongs to, and whoever changes it all the same is told. What lies in a
registry is fetched by the runtime alone; here it is only named, by its digest.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from time import monotonic
from typing import Final

from bulkhead_api.package_manifest import ManifestError, PackageManifest, read
from bulkhead_api.runtime_config import PackageContent, PackageDocument
from bulkhead_api.v1alpha1 import AgentPackage
from bulkhead_api.v1alpha1.package_dependencies import Dependency
from bulkhead_api.v1alpha1.package_health import HealthCheck
from bulkhead_api.v1alpha1.package_source import ConfigMapSource
from bulkhead_operator.cluster.port import ObjectKey
from bulkhead_operator.context import Context
from bulkhead_operator.errors import UserError
from bulkhead_operator.status import reasons

_FIELD: Final = "`spec.source.configMap`"


@dataclass(frozen=True, slots=True)
class Read:
    """A manifest that was read from a ConfigMap, and when."""

    at: float
    version: str
    source: ConfigMapSource
    manifest: PackageManifest


Cache = dict[str, Read]
"""By the package's uid."""


async def document(context: Context, cache: Cache, package: AgentPackage) -> PackageDocument:
    """Return the document of the version that the spec asks for; raises `UserError`."""
    spec = package.spec
    agents, tools, oci = spec.agents, spec.tools, None
    if spec.source is not None and spec.source.config_map is not None:
        manifest = await _manifest(context, cache, package, spec.source.config_map)
        agents, tools = manifest.agents, manifest.tools
    elif spec.source is not None:
        oci = spec.source.oci
    content = PackageContent(
        agents=agents,
        tools=tools,
        oci=oci,
        dependencies=spec.dependencies,
        health_checks=(*spec.health_checks, *_dependency_checks(spec.dependencies)),
        execution_config=spec.execution_config,
        image=spec.image,
    )
    return PackageDocument.holding(package.metadata.name, spec.version, content)


def _dependency_checks(dependencies: tuple[Dependency, ...]) -> Iterable[HealthCheck]:
    """Yield the checks of what is required, named by its place in the spec."""
    for index, one in enumerate(dependencies):
        if one.health_check is not None and one.required:
            check = one.health_check
            yield HealthCheck(name=f"dependency-{index}", http=check.http, tool=check.tool)


def forget_departed(cache: Cache, present: Iterable[str]) -> None:
    """Drop what was read for packages that are gone."""
    for uid in cache.keys() - set(present):
        del cache[uid]


async def _manifest(
    context: Context, cache: Cache, package: AgentPackage, source: ConfigMapSource
) -> PackageManifest:
    uid, version = package.metadata.uid, package.spec.version
    known = cache.get(uid)
    if (
        known is not None
        and (known.version, known.source) == (version, source)
        and monotonic() - known.at < context.settings.resync_seconds
    ):
        return known.manifest
    key = ObjectKey("v1", "ConfigMap", package.metadata.namespace, source.name)
    live = await context.cluster.get(key)
    text = ((live or {}).get("data") or {}).get(source.key)
    if not text:
        raise UserError(
            reasons.SOURCE_NOT_FOUND,
            f"{_FIELD} names field '{source.key}' of ConfigMap '{source.name}', which is not there "
            "or empty: create it with the manifest that the packaging command writes.",
        )
    manifest = _validated(package, text)
    cache[uid] = Read(monotonic(), version, source, manifest)
    return manifest


def _validated(package: AgentPackage, text: str) -> PackageManifest:
    metadata, spec = package.metadata, package.spec
    try:
        return read(text.encode(), package=metadata.name, version=spec.version)
    except ManifestError as error:
        raise UserError(
            reasons.SOURCE_INVALID, f"{_FIELD} holds a manifest that cannot be used: {error}."
        ) from None
