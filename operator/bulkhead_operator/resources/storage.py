"""Where the organization's data lies: the volume claim and the pool that bounds it."""

from typing import Final

from bulkhead_api.names import API_VERSION, DATA_CLAIM, DEFAULT_POOL
from bulkhead_api.v1alpha1.organization_runtime import Storage
from bulkhead_operator.cluster.port import Manifest
from bulkhead_operator.resources.blueprint import Blueprint

DEFAULT_POOL_MB: Final = 256


def claim(blueprint: Blueprint) -> Manifest:
    """Return the volume claim; nobody owns it, because the deletion policy decides about data."""
    storage = blueprint.organization.spec.storage
    spec: Manifest = {
        "accessModes": ["ReadWriteOnce"],
        "resources": {"requests": {"storage": f"{storage.size_mb}Mi"}},
    }
    if storage.storage_class_name is not None:
        spec["storageClassName"] = storage.storage_class_name
    return blueprint.child("v1", "PersistentVolumeClaim", DATA_CLAIM, owned=False) | {"spec": spec}


def default_pool_size(storage: Storage) -> int:
    """Return the mebibytes of a pool that nobody wrote: at most half of the volume, if any.

    The other half is for the database's log and for space that deletions free only later.
    """
    if storage.postgres is not None:
        return DEFAULT_POOL_MB
    return min(DEFAULT_POOL_MB, storage.size_mb // 2)


def pool(blueprint: Blueprint) -> Manifest:
    """Return the pool that is made once; from then on it is the organization's to change."""
    size = default_pool_size(blueprint.organization.spec.storage)
    return blueprint.child(API_VERSION, "MemoryPool", DEFAULT_POOL, owned=False) | {
        "spec": {"maxMemoryMB": size}
    }
