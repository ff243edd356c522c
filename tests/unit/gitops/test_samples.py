"""What we tell people to give Argo CD and Flux does what the samples say."""

from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import yaml

from bulkhead_api.v1alpha1 import AgentPackage, OrganizationRuntime
from tests.support.flux import health
from tests.support.kstatus import kstatus

_ROOT = Path(__file__).parents[3]
_SAMPLES = _ROOT / "examples" / "gitops"
_STATES = _ROOT / "contrib/argocd/resource_customizations/bulkhead.dev/AgentPackage/testdata"
_WAVE = "argocd.argoproj.io/sync-wave"


def _documents(path: Path) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all(path.read_text()))


def _repository() -> dict[str, dict[str, Any]]:
    documents = [each for path in (_SAMPLES / "repository").iterdir() for each in _documents(path)]
    return {each["kind"]: each for each in documents}


def _kustomization() -> dict[str, Any]:
    (found,) = (each for each in _documents(_SAMPLES / "flux.yaml") if "path" in each["spec"])
    return found


def test_each_wave_brings_what_the_next_one_needs() -> None:
    kinds = ("Namespace", "OrganizationRuntime", "AgentPackage")
    waves = [int(_repository()[kind]["metadata"]["annotations"][_WAVE]) for kind in kinds]
    assert all(before < after for before, after in pairwise(waves))


def test_what_is_in_git_are_objects_of_one_organization() -> None:
    found = _repository()
    organization = OrganizationRuntime.model_validate(found["OrganizationRuntime"])
    package = AgentPackage.model_validate(found["AgentPackage"])
    namespace = found["Namespace"]["metadata"]
    assert namespace["annotations"]["bulkhead.dev/organization"] == organization.metadata.name
    assert organization.spec.namespace == namespace["name"] == package.metadata.namespace


def test_argo_cd_and_flux_look_where_the_manifests_are() -> None:
    (application,) = _documents(_SAMPLES / "argocd.yaml")
    for path in (application["spec"]["source"]["path"], _kustomization()["spec"]["path"]):
        assert (_ROOT / path).resolve() == _SAMPLES / "repository"


def test_flux_waits_for_what_is_in_git() -> None:
    waited = {
        (check["kind"], check["name"], check.get("namespace"))
        for check in _kustomization()["spec"]["healthChecks"]
    }
    assert waited == {
        (kind, each["metadata"]["name"], each["metadata"].get("namespace"))
        for kind, each in _repository().items()
        if kind != "Namespace"
    }


@pytest.mark.parametrize(
    "path", [pytest.param(path, id=path.stem) for path in sorted(_STATES.glob("*.yaml"))]
)
def test_the_expressions_differ_from_kstatus_only_where_a_person_is_waited_for(path: Path) -> None:
    (expressions,) = _kustomization()["spec"]["healthCheckExprs"]
    (live,) = _documents(path)
    rollout = live["status"].get("rollout", {})
    waits = rollout.get("waitsForApproval") and "failure" not in rollout
    assert health(expressions, live) == ("Current" if waits else kstatus(live))
