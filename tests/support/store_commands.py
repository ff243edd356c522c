"""The command that platform teams prepare a PostgreSQL with, as a process of its own."""

import subprocess
import sys
from collections.abc import Mapping


def command(
    *arguments: str, environment: Mapping[str, str], stdin: str = ""
) -> subprocess.CompletedProcess[str]:
    """Run `python -m bulkhead_runtime.store.postgres` to its end."""
    return subprocess.run(
        [sys.executable, "-m", "bulkhead_runtime.store.postgres", *arguments],
        env={"PYTHONPATH": "crds:runtime_image", "PATH": "/usr/bin", **environment},
        input=stdin,
        capture_output=True,
        text=True,
        check=False,
    )
