"""Runs foreign commands so that a failure always names the command and its last words."""

import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.cluster.progress import ClusterError

_SHOWN_LINES = 15


def run(
    argv: Sequence[str | Path],
    *,
    stdin: str | None = None,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    timeout: float | None = None,
    remedy: str = "",
) -> str:
    """Return the command's standard output; raise a ClusterError with its errors otherwise."""
    command = [str(part) for part in argv]
    try:
        result = subprocess.run(
            command,
            input=stdin,
            env=env,
            cwd=cwd,
            timeout=timeout,
            capture_output=True,
            text=True,
            check=False,
        )
    except FileNotFoundError as error:
        raise ClusterError(f"The command {command[0]} is not there.", remedy=remedy) from error
    except subprocess.TimeoutExpired as error:
        shown = " ".join(command)
        raise ClusterError(f"`{shown}` did not end in {timeout} seconds.", remedy=remedy) from error
    if result.returncode != 0:
        words = (result.stderr or result.stdout).strip().splitlines()[-_SHOWN_LINES:]
        shown = " ".join(command)[:400]
        said = "\n".join(f"  | {line}" for line in words)
        raise ClusterError(f"`{shown}` ended with {result.returncode}:\n{said}", remedy=remedy)
    return result.stdout


def run_logged(
    argv: Sequence[str | Path],
    log: Path,
    *,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    remedy: str = "",
) -> None:
    """Run a long command with its output in `log`, which a ClusterError then shows the end of."""
    command = [str(part) for part in argv]
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("w") as out:
        out.write(f"$ {' '.join(command)}\n")
        out.flush()
        result = subprocess.run(
            command,
            env=env,
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            check=False,
        )
    if result.returncode != 0:
        raise ClusterError(
            f"`{' '.join(command)[:200]}` ended with {result.returncode}.", log=log, remedy=remedy
        )


def succeeds(argv: Sequence[str | Path], *, timeout: float | None = None) -> bool:
    """Tell whether a command exists and ends well; its output is of no interest."""
    try:
        result = subprocess.run(
            [str(part) for part in argv], capture_output=True, timeout=timeout, check=False
        )
    except (FileNotFoundError, PermissionError, subprocess.TimeoutExpired):
        return False
    return result.returncode == 0
