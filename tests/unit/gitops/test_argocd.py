"""What Argo CD shows and offers, run as its own tests of these files would run it."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from bulkhead_api.v1alpha1 import AgentPackage, MemoryPool, OrganizationRuntime
from tests.support import argocd
from tests.support.kstatus import assert_sane, kstatus

_HOME = Path(__file__).parents[3] / "contrib" / "argocd"
_KINDS = _HOME / "resource_customizations" / "bulkhead.dev"
_MODELS = {"AgentPackage": AgentPackage, "MemoryPool": MemoryPool} | {
    "OrganizationRuntime": OrganizationRuntime
}
_HELM_AND_FLUX = {
    "Healthy": {"Current"},
    "Degraded": {"Failed"},
    "Suspended": {"InProgress"},
    "Progressing": {"InProgress"},
}


def _load(path: Path) -> Any:
    return yaml.safe_load(path.read_text())


def _told(file: str, section: str) -> list[Any]:
    cases = []
    for path in sorted(_KINDS.rglob(file)):
        kind = path.relative_to(_KINDS).parts[0]
        for number, case in enumerate(_load(path).get(section, [])):
            words = [kind, case.get("action", "shows"), Path(case["inputPath"]).stem, number]
            cases.append(pytest.param(path.parent, case, id=" ".join(map(str, words))))
    return cases


@pytest.mark.parametrize(("home", "case"), _told("health_test.yaml", "tests"))
def test_health_is_what_the_file_beside_it_says(home: Path, case: dict[str, Any]) -> None:
    live = _load(home / case["inputPath"])
    assert argocd.run((home / "health.lua").read_text(), live) == case["healthStatus"]


@pytest.mark.parametrize(("home", "case"), _told("health_test.yaml", "tests"))
def test_argo_cd_agrees_with_helm_flux_and_kubectl(home: Path, case: dict[str, Any]) -> None:
    live = _load(home / case["inputPath"])
    if not live["spec"].get("suspend") or live["kind"] == "AgentPackage":
        assert kstatus(live) in _HELM_AND_FLUX[case["healthStatus"]["status"]]


@pytest.mark.parametrize(("home", "case"), _told("action_test.yaml", "discoveryTests"))
def test_actions_are_offered_where_they_make_sense(home: Path, case: dict[str, Any]) -> None:
    offered = argocd.run((home / "discovery.lua").read_text(), _load(home / case["inputPath"]))
    expected = {each["name"]: each for each in case["result"]}
    assert {
        name: {"name": name, **{key: value for key, value in each.items() if value}}
        for name, each in offered.items()
    } == expected


@pytest.mark.parametrize(("home", "case"), _told("action_test.yaml", "actionTests"))
def test_an_action_changes_what_it_says_and_nothing_else(home: Path, case: dict[str, Any]) -> None:
    script = (home / case["action"] / "action.lua").read_text()
    live = _load(home / case["inputPath"])
    if refusal := case.get("expectedErrorMessage"):
        with pytest.raises(argocd.ScriptError, match=refusal):
            argocd.changed(script, live, case.get("parameters"))
    else:
        left = argocd.changed(script, live, case.get("parameters"))
        assert left == _load(home / case["expectedOutputPath"])


@pytest.mark.parametrize(
    "path", [pytest.param(path, id=path.stem) for path in sorted(_KINDS.rglob("testdata/*.yaml"))]
)
def test_what_the_tests_show_argo_cd_is_an_object_that_can_exist(path: Path) -> None:
    live = _load(path)
    model = _MODELS[live["kind"]]
    known = model.model_validate(live).model_dump(by_alias=True, exclude_unset=True)
    assert known["spec"].keys() == live["spec"].keys()
    assert known["status"].keys() == live["status"].keys()
    if "conditions" in live["status"]:
        assert_sane(live)


def test_a_package_can_do_all_that_a_person_does_by_annotations_and_spec() -> None:
    actions = {path.parent.name for path in _KINDS.glob("AgentPackage/actions/*/action.lua")}
    assert actions == {"approve", "resume", "retry", "rollback", "suspend"}


def test_the_config_map_holds_the_very_scripts_that_are_tested() -> None:
    data = _load(_HOME / "argocd-cm.yaml")["data"]
    for kind in _MODELS:
        home = _KINDS / kind
        health = data[f"resource.customizations.health.bulkhead.dev_{kind}"]
        assert health == (home / "health.lua").read_text()
    for home in _KINDS.glob("*/actions"):
        actions = yaml.safe_load(
            data[f"resource.customizations.actions.bulkhead.dev_{home.parent.name}"]
        )
        assert actions["discovery.lua"] == (home / "discovery.lua").read_text()
        assert {each["name"]: each["action.lua"] for each in actions["definitions"]} == {
            path.parent.name: path.read_text() for path in home.glob("*/action.lua")
        }
