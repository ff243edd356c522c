"""Speaks to a cluster through kubectl, the way a person would."""

import json
from pathlib import Path
from typing import Any

from tests.cluster import binaries
from tests.cluster.commands import run, succeeds

FIELD_MANAGER = "bulkhead-cluster"


class Kubectl:
    """kubectl with one kubeconfig; each method is one call."""

    def __init__(self, kubeconfig: Path) -> None:
        self.kubeconfig = kubeconfig

    def argv(self, *args: str | Path) -> list[str | Path]:
        """Return the command line, for callers that run it themselves."""
        program = binaries.ensure("kubectl")["kubectl"]
        return [program, "--kubeconfig", self.kubeconfig, *args]

    def run(self, *args: str | Path, stdin: str | None = None, remedy: str = "") -> str:
        """Run it and return what it printed."""
        return run(self.argv(*args), stdin=stdin, remedy=remedy)

    def succeeds(self, *args: str | Path) -> bool:
        """Tell whether the call ends well."""
        return succeeds(self.argv(*args))

    def apply(self, manifests: str) -> None:
        """Apply YAML server-side; what is already so is left alone."""
        self.run(
            "apply",
            "--server-side",
            "--force-conflicts",
            f"--field-manager={FIELD_MANAGER}",
            "--filename=-",
            stdin=manifests,
        )

    def get(self, *args: str) -> Any:
        """Return what `kubectl get ARGS -o json` says."""
        return json.loads(self.run("get", *args, "--output=json"))
