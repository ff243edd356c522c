"""Where things lie: the checkout, the cache that outlives clusters, the state that does not."""

import os
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
HERE = Path(__file__).resolve().parent
MANIFESTS = HERE / "manifests"


def cache() -> Path:
    """Return the folder of everything that took time to get and can be used again."""
    configured = os.environ.get("BULKHEAD_CACHE")
    return Path(configured) if configured else Path.home() / ".cache" / "bulkhead"


def state() -> Path:
    """Return the folder of everything that belongs to the running cluster; `down` removes it."""
    configured = os.environ.get("BULKHEAD_STATE")
    if configured:
        return Path(configured)
    if os.geteuid() == 0:
        return Path("/var/lib/bulkhead-cluster")
    return Path.home() / ".local" / "state" / "bulkhead-cluster"
