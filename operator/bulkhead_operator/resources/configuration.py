"""The configuration as ConfigMaps: config.json and the documents of every loaded version."""

from collections.abc import Mapping
from typing import Final

from bulkhead_api.names import (
    CONFIG_FILE,
    CONFIG_MAP,
    PACKAGE_CONFIG_MAP_PREFIX,
    PACKAGE_CONFIG_MAPS,
)
from bulkhead_operator.cluster.port import Manifest
from bulkhead_operator.resources.blueprint import Blueprint

BYTES_PER_MAP: Final = 900 * 1024
"""Of the 1 MiB that the API server takes, the rest is left for metadata."""


def config_map(blueprint: Blueprint) -> Manifest:
    """Return the ConfigMap with config.json."""
    return blueprint.child("v1", "ConfigMap", CONFIG_MAP) | {
        "data": {CONFIG_FILE: blueprint.configuration.written()}
    }


def package_map(blueprint: Blueprint, index: int) -> Manifest:
    """Return the ConfigMap with the documents of slot `index`."""
    name = f"{PACKAGE_CONFIG_MAP_PREFIX}{index}"
    return blueprint.child("v1", "ConfigMap", name) | {"data": dict(blueprint.package_maps[index])}


class Shelf:
    """Puts documents into as few maps as needed, first fit: what is in never moves."""

    def __init__(self) -> None:
        self._maps: list[dict[str, str]] = []
        self._free: list[int] = []

    @property
    def maps(self) -> tuple[Mapping[str, str], ...]:
        """Return the maps' data."""
        return tuple(self._maps)

    def put(self, name: str, content: str) -> bool:
        """Put a document (file name, content) in, once; False when there is no room for it."""
        if any(name in documents for documents in self._maps):
            return True
        size = document_size(name, content)
        slot = next((index for index, room in enumerate(self._free) if size <= room), None)
        if slot is None:
            if size > BYTES_PER_MAP or len(self._maps) == PACKAGE_CONFIG_MAPS:
                return False
            slot = len(self._maps)
            self._maps.append({})
            self._free.append(BYTES_PER_MAP)
        self._maps[slot][name] = content
        self._free[slot] -= size
        return True


def document_size(name: str, content: str) -> int:
    """Return the bytes that a document takes in a map."""
    return len(name) + len(content.encode())
