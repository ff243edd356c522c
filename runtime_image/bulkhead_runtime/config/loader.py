"""Reads the mounted folder and says whether what is there can be followed.

Nothing in the files is trusted: a configuration is followed only when it is this organization's,
its hash is that of its content, and every version that its routes name is there with the checksum
that the route names. Whatever else is found is a refusal with a reason, never an exception.
"""

from dataclasses import replace
from pathlib import Path
from typing import Protocol

from pydantic import ValidationError

from bulkhead_api import names
from bulkhead_api.package_manifest import PackageManifest
from bulkhead_api.runtime_config import PackageDocument, PackageRoute, RuntimeConfig, VersionRoute
from bulkhead_api.runtime_state import Refusal
from bulkhead_api.v1alpha1.tools import Tools
from bulkhead_runtime.config.snapshot import Configuration, Version

MAX_FILE_BYTES = 1024 * 1024
"""What one ConfigMap can hold."""

MAX_REASON_CHARACTERS = 500
FULL_WEIGHT = 100


class Refused(Exception):  # noqa: N818 (an outcome that is reported, not an error of the program)
    """The files cannot be followed; `hash` names the configuration as far as it was readable."""

    def __init__(self, what: str, message: str, *, configuration_hash: str = "") -> None:
        super().__init__(message)
        self.what = what
        self.message = message[:MAX_REASON_CHARACTERS]
        self.configuration_hash = configuration_hash


class UnavailableError(Exception):
    """The content of a version lies elsewhere and cannot be had; the message says why."""


class AwaitedError(Exception):
    """Content that lies elsewhere is under way; load again when it has come."""


class Sources(Protocol):
    """Contents that lie elsewhere."""

    def find(self, document: PackageDocument, settings: Tools) -> PackageManifest | None:
        """Return the content of a version, None while it is fetched.

        `settings` say which hosts may be asked; they are not followed yet.
        Raises `UnavailableError` where it cannot be had.
        """
        ...


class NoSources:
    """Stands where nothing can be fetched."""

    def find(self, document: PackageDocument, settings: Tools) -> PackageManifest | None:
        """Refuse whatever is asked for."""
        del settings
        raise UnavailableError(f"nothing fetches {document.package} {document.version} here")


def load(
    directory: Path,
    organization: str,
    former: Configuration | None = None,
    sources: Sources | None = None,
) -> Configuration:
    """Return the configuration that lies in `directory`; raise `Refused` when there is none.

    Documents that `former` already holds with the same checksum are not read again. Raises
    `AwaitedError` while `sources` fetch what it needs.
    """
    root = _switched_root(directory)
    config = _read_config(root / names.CONFIG_FILE, organization)
    try:
        versions = _Versions(root, config.tools, former, sources or NoSources())
        for route in config.routes:
            versions.load(route)
        if versions.awaited:
            raise AwaitedError
        configuration = Configuration(config, versions.loaded, tuple(versions.set_aside))
        _refuse_ambiguous_agents(configuration)
    except Refused as refusal:
        refusal.configuration_hash = config.hash
        raise
    return configuration


def _switched_root(directory: Path) -> Path:
    """Resolve the kubelet's `..data` link once, so that a switch midway mixes nothing."""
    data = directory / "..data"
    return data.resolve() if data.is_symlink() else directory


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            content = file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise Refused(path.name, f"{path.name} cannot be read: {reason}") from error
    if len(content) > MAX_FILE_BYTES:
        raise Refused(path.name, f"{path.name} is larger than {MAX_FILE_BYTES} bytes")
    return content


def _read_config(path: Path, organization: str) -> RuntimeConfig:
    try:
        config = RuntimeConfig.model_validate_json(_read(path))
    except ValidationError as error:
        raise Refused(path.name, f"{path.name} is not valid: {_first_reason(error)}") from error
    if config.with_hash().hash != config.hash:
        raise Refused(path.name, f"{path.name} does not match the hash that it names")
    if config.organization != organization:
        raise Refused(
            path.name,
            f"{path.name} belongs to organization {config.organization!r}, not {organization!r}",
            configuration_hash=config.hash,
        )
    return config


class _Versions:
    """Loads versions one by one; what is fetched is asked for at once, for all of them."""

    def __init__(
        self, root: Path, settings: Tools, former: Configuration | None, sources: Sources
    ) -> None:
        self.loaded: dict[tuple[str, str], Version] = {}
        self.set_aside: list[Refusal] = []
        self.awaited = False
        self._root = root
        self._settings = settings
        self._former = former
        self._sources = sources

    def load(self, route: PackageRoute) -> None:
        """Load the versions of a package."""
        _refuse_wrong_weights(route)
        for wanted in route.versions:
            key = (route.package, wanted.version)
            version = _known(self._former, key, wanted) or self._read(route.package, wanted)
            if version is not None:
                self.loaded[key] = version

    def _read(self, package: str, wanted: VersionRoute) -> Version | None:
        document = _read_document(self._root, package, wanted)
        _refuse_misrouted(document, wanted)
        try:
            complete = self._completed(document)
        except UnavailableError as error:
            refused = Refused(names.package_key(package, wanted.version), str(error))
            if wanted.weight > 0:
                raise refused from None
            # Nobody is waiting for it: that a registry is away must not keep all others back.
            self.set_aside.append(Refusal(what=refused.what, message=refused.message))
            return None
        if complete is None:
            self.awaited = True
            return None
        return _routed(Version.of(complete, wanted.weight), wanted)

    def _completed(self, document: PackageDocument) -> PackageDocument | None:
        if document.oci is None:
            return document
        content = self._sources.find(document, self._settings)
        if content is None:
            return None
        return document.model_copy(update={"agents": content.agents, "tools": content.tools})


def _refuse_wrong_weights(route: PackageRoute) -> None:
    total = sum(version.weight for version in route.versions)
    if total not in {0, FULL_WEIGHT}:
        raise Refused(
            route.package, f"the weights of package {route.package!r} add up to {total}, not 100"
        )


def _known(
    former: Configuration | None, key: tuple[str, str], wanted: VersionRoute
) -> Version | None:
    known = former.versions.get(key) if former else None
    if known is None or known.checksum != wanted.checksum:
        return None
    return _routed(known, wanted)


def _refuse_misrouted(document: PackageDocument, wanted: VersionRoute) -> None:
    """Refuse a route that would let a model answer for an image, or the other way round."""
    if (document.image is None) == bool(wanted.endpoint):
        name = names.package_key(document.package, document.version)
        has, says = ("no image", "one") if wanted.endpoint else ("an image", "none")
        raise Refused(name, f"{name} has {has}, but its route says that it has {says}")


def _routed(version: Version, wanted: VersionRoute) -> Version:
    return replace(version, weight=wanted.weight, check=wanted.check, endpoint=wanted.endpoint)


def _read_document(root: Path, package: str, wanted: VersionRoute) -> PackageDocument:
    name = names.package_key(package, wanted.version)
    try:
        document = PackageDocument.model_validate_json(_read(root / name))
    except ValidationError as error:
        raise Refused(name, f"{name} is not valid: {_first_reason(error)}") from error
    if (document.package, document.version) != (package, wanted.version):
        raise Refused(
            name, f"{name} holds {document.package} {document.version}, which its name does not say"
        )
    if not document.intact():
        raise Refused(name, f"{name} is damaged: its content does not match its checksum")
    if document.checksum != wanted.checksum:
        raise Refused(name, f"{name} has another checksum than the route names")
    return document


def _refuse_ambiguous_agents(configuration: Configuration) -> None:
    for agent, versions in configuration.serving.items():
        packages = sorted({version.package for version in versions})
        if len(packages) > 1:
            raise Refused(agent, f"agent {agent!r} is defined by packages {', '.join(packages)}")


def _first_reason(error: ValidationError) -> str:
    """Return where and why, without the value: a document's text does not belong into logs."""
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    place = ".".join(str(part) for part in first["loc"]) or "the document"
    return f"{place}: {first['msg']}"
