"""Where the organization's data lies: the volume claim and the pool that bounds it."""

from bulkhead_api.names import API_VERSION, DATA_CLAIM, DEFAULT_POOL
from bulkhead_operator.cluster.port import Manifest
from bulkhead_operator.resources.blueprint import Blueprint


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


def default_pool_size(size_mb: int) -> int:
    """Return the bound of a pool that nobody wrote: at most half of the volume of `size_mb`.

    The other half is for the database's log and for space that deletions free only later.
    """
    return min(256, size_mb // 2)


def pool(blueprint: Blueprint) -> Manifest:
    """Return the pool that is made once; from then on it is the organization's to change."""
    size = default_pool_size(blueprint.organization.spec.storage.size_mb)
    return blueprint.child(API_VERSION, "MemoryPool", DEFAULT_POOL, owned=False) | {
        "spec": {"maxMemoryMB": size}
    }
