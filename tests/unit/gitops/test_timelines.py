"""What tools read of a package while its versions come and go, over what a cluster once showed.

Each file of timelines/ holds every status that a watch delivered, in order.
"""

from itertools import groupby, pairwise
from pathlib import Path
from typing import Any

import pytest
import yaml

from bulkhead_api.v1alpha1 import AgentPackage
from tests.support import argocd
from tests.support.kstatus import assert_sane, kstatus

_TIMELINES = Path(__file__).parent / "timelines"
_HEALTH = (
    Path(__file__).parents[3]
    / "contrib/argocd/resource_customizations/bulkhead.dev/AgentPackage/health.lua"
).read_text()

Reading = tuple[str, str, str]


def _recorded(name: str) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all((_TIMELINES / f"{name}.yaml").read_text()))


def _readings(name: str) -> list[Reading]:
    """Return version, kstatus' and Argo CD's reading, each change once."""
    read = [
        (live["spec"]["version"], kstatus(live), argocd.run(_HEALTH, live)["status"])
        for live in _recorded(name)
    ]
    return [reading for reading, _ in groupby(read)]


NAMES = sorted(path.stem for path in _TIMELINES.glob("*.yaml"))


@pytest.mark.parametrize("name", NAMES)
def test_every_status_is_sane_and_of_today(name: str) -> None:
    for live in _recorded(name):
        status = AgentPackage.model_validate(live).status.model_dump(by_alias=True)
        assert live["status"].keys() <= status.keys()
        if live["status"].get("conditions"):
            assert_sane(live)


@pytest.mark.parametrize("name", NAMES)
def test_nothing_reads_as_done_before_the_operator_has_seen_it(name: str) -> None:
    shown = _recorded(name)
    asked = [now for before, now in pairwise(shown) if _generation(now) > _generation(before)]
    assert [kstatus(live) for live in (shown[0], *asked)] == ["InProgress"] * (len(asked) + 1)


def _generation(live: dict[str, Any]) -> int:
    generation: int = live["metadata"]["generation"]
    return generation


def test_a_bad_commit_reads_as_failed_until_git_takes_it_back() -> None:
    assert _readings("bad-commit") == [
        ("1.0.0", "InProgress", "Progressing"),
        ("1.0.0", "Current", "Healthy"),
        ("2.0.0", "InProgress", "Progressing"),
        ("2.0.0", "Current", "Healthy"),
        ("3.0.0", "InProgress", "Progressing"),
        ("3.0.0", "Failed", "Degraded"),
        ("2.0.0", "InProgress", "Progressing"),
        ("2.0.0", "Current", "Healthy"),
    ]


def test_a_canary_that_waits_for_a_person_is_suspended_in_argo_cd_only() -> None:
    assert _readings("approved-canary") == [
        ("1.0.0", "InProgress", "Progressing"),
        ("1.0.0", "Current", "Healthy"),
        ("2.0.0", "InProgress", "Progressing"),
        ("2.0.0", "InProgress", "Suspended"),
        ("2.0.0", "InProgress", "Progressing"),
        ("2.0.0", "Current", "Healthy"),
    ]
