"""The configuration as ConfigMaps: config.json and the documents of every loaded version."""

from collections.abc import Mapping, Sequence
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
        "data": {CONFIG_FILE: blueprint.configuration.model_dump_json(by_alias=True)}
    }


def package_map(blueprint: Blueprint, index: int) -> Manifest:
    """Return the ConfigMap with the documents of slot `index`."""
    name = f"{PACKAGE_CONFIG_MAP_PREFIX}{index}"
    return blueprint.child("v1", "ConfigMap", name) | {"data": dict(blueprint.package_maps[index])}


def packed(documents: Sequence[tuple[str, str]]) -> tuple[list[Mapping[str, str]], list[str]]:
    """Put documents (file name, content) into as few maps as needed, first fit in their order.

    Returns the maps' data and the names of documents that found no place. An earlier document
    never moves because of a later one.
    """
    maps: list[dict[str, str]] = []
    free: list[int] = []
    left_out: list[str] = []
    for name, content in documents:
        size = document_size(name, content)
        slot = next((index for index, room in enumerate(free) if size <= room), len(maps))
        if size > BYTES_PER_MAP or slot == PACKAGE_CONFIG_MAPS:
            left_out.append(name)
            continue
        if slot == len(maps):
            maps.append({})
            free.append(BYTES_PER_MAP)
        maps[slot][name] = content
        free[slot] -= size
    return list(maps), left_out


def document_size(name: str, content: str) -> int:
    """Return the bytes that a document takes in a map."""
    return len(name) + len(content.encode())
