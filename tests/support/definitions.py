"""The kinds of others that the chart and the samples use, as the projects they are from say.

With these applied, an API server judges monitors, alerts and syncs as strictly as its own kinds.
Argo CD's are left out: its module is 58 MB for the one Application of a sample.
"""

from collections.abc import Iterator
from pathlib import Path

from tests.cluster import golang, versions

_FLUX = "github.com/fluxcd"
_DEFINITIONS = {
    ("github.com/prometheus-operator/prometheus-operator", versions.PROMETHEUS_OPERATOR): (
        "example/prometheus-operator-crd/monitoring.coreos.com_podmonitors.yaml",
        "example/prometheus-operator-crd/monitoring.coreos.com_prometheusrules.yaml",
        "example/prometheus-operator-crd/monitoring.coreos.com_servicemonitors.yaml",
    ),
    (f"{_FLUX}/kustomize-controller", versions.FLUX_CONTROLLERS): (
        "config/crd/bases/kustomize.toolkit.fluxcd.io_kustomizations.yaml",
    ),
    (f"{_FLUX}/source-controller", versions.FLUX_CONTROLLERS): (
        "config/crd/bases/source.toolkit.fluxcd.io_gitrepositories.yaml",
    ),
}


def files() -> Iterator[Path]:
    """Return the file of each definition, getting what is missing."""
    for (module, version), names in _DEFINITIONS.items():
        folder = golang.module(module, version)
        for name in names:
            yield folder / name
