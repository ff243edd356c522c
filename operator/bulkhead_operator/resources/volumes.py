"""What is mounted into the runtime's pod: configuration, data, documents, Secrets."""

from collections.abc import Mapping, Sequence
from itertools import groupby
from operator import attrgetter
from typing import Final

from bulkhead_api.names import (
    API_KEY_FOLDER,
    API_KEY_SECRET,
    CONFIG_DIRECTORY,
    CONFIG_MAP,
    DATA_CLAIM,
    DATA_DIRECTORY,
    DOCUMENTS_DIRECTORY,
    INTERNAL_FOLDER,
    INTERNAL_SECRET,
    PACKAGE_CONFIG_MAP_PREFIX,
    PACKAGE_CONFIG_MAPS,
    REGISTRIES_FOLDER,
    SECRETS_DIRECTORY,
    TOKEN_FIELD,
)
from bulkhead_operator.cluster.port import Manifest
from bulkhead_operator.resources.blueprint import Blueprint
from bulkhead_operator.resources.credentials import Credential, credentials

SCRATCH_SIZE: Final = "64Mi"
_GROUP_READABLE: Final = 0o440
_TOKENS: Final = {API_KEY_FOLDER: API_KEY_SECRET, INTERNAL_FOLDER: INTERNAL_SECRET}


def mounts(blueprint: Blueprint) -> list[Manifest]:
    """Return the container's volumeMounts."""
    data = [] if blueprint.shares_stores else [{"name": "data", "mountPath": DATA_DIRECTORY}]
    return [
        {"name": "scratch", "mountPath": "/tmp"},  # noqa: S108 (the pod's own, bounded)
        _read_only("config", CONFIG_DIRECTORY),
        *data,
        *(_read_only(folder, f"{SECRETS_DIRECTORY}/{folder}") for folder in _TOKENS),
        *(_read_only(folder, f"{SECRETS_DIRECTORY}/{folder}") for folder in _folders(blueprint)),
        *(
            _read_only(folder, f"{SECRETS_DIRECTORY}/{folder}")
            for folder in ([REGISTRIES_FOLDER] if blueprint.pull_secrets else [])
        ),
        *(
            _read_only(name, f"{DOCUMENTS_DIRECTORY}/{config_map}")
            for name, config_map in _documents(blueprint).items()
        ),
    ]


def _read_only(name: str, path: str) -> Manifest:
    return {"name": name, "mountPath": path, "readOnly": True}


def volumes(blueprint: Blueprint) -> list[Manifest]:
    """Return the pod's volumes."""
    claim = {"name": "data", "persistentVolumeClaim": {"claimName": DATA_CLAIM}}
    return [
        {"name": "scratch", "emptyDir": {"sizeLimit": SCRATCH_SIZE}},
        _configuration(),
        *([] if blueprint.shares_stores else [claim]),
        *(_token(folder, secret) for folder, secret in _TOKENS.items()),
        *(_secrets(folder, files) for folder, files in _folders(blueprint).items()),
        *([_registries(blueprint.pull_secrets)] if blueprint.pull_secrets else []),
        *(
            {"name": name, "configMap": {"name": config_map, "optional": True}}
            for name, config_map in _documents(blueprint).items()
        ),
    ]


def _configuration() -> Manifest:
    maps = [
        CONFIG_MAP,
        *(f"{PACKAGE_CONFIG_MAP_PREFIX}{index}" for index in range(PACKAGE_CONFIG_MAPS)),
    ]
    sources = [{"configMap": {"name": name, "optional": True}} for name in maps]
    return {"name": "config", "projected": {"sources": sources}}


def _token(name: str, secret: str) -> Manifest:
    return {
        "name": name,
        "secret": {
            "secretName": secret,
            "items": [{"key": TOKEN_FIELD, "path": TOKEN_FIELD}],
            "defaultMode": _GROUP_READABLE,
        },
    }


def _folders(blueprint: Blueprint) -> Mapping[str, list[Credential]]:
    # A volume of its own each, because the runtime watches folders and reads again what changed.
    folder = attrgetter("folder")
    named = sorted(credentials(blueprint.organization.spec), key=folder)
    return {name: list(files) for name, files in groupby(named, folder)}


def _secrets(folder: str, files: list[Credential]) -> Manifest:
    sources = [
        {
            "secret": {
                "name": one.reference.name,
                "items": [{"key": one.reference.key, "path": one.file}],
                # A Secret that is missing is a condition of the organization, not a dead pod.
                "optional": True,
            }
        }
        for one in files
    ]
    return {"name": folder, "projected": {"sources": sources, "defaultMode": _GROUP_READABLE}}


def _registries(names: Sequence[str]) -> Manifest:
    """Return the volume with what registries ask for; a Secret that is missing fails the pull."""
    sources = [
        {
            "secret": {
                "name": name,
                "items": [{"key": ".dockerconfigjson", "path": name}],
                "optional": True,
            }
        }
        for name in names
    ]
    projected = {"sources": sources, "defaultMode": _GROUP_READABLE}
    return {"name": REGISTRIES_FOLDER, "projected": projected}


def _documents(blueprint: Blueprint) -> Mapping[str, str]:
    config_maps = blueprint.organization.spec.tools.documents.config_maps
    return {f"documents-{index}": name for index, name in enumerate(config_maps)}
