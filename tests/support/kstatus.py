"""How kubectl, Flux, Argo CD and Helm read an object's health: kstatus' algorithm."""

from collections.abc import Mapping
from typing import Any


def kstatus(live: Mapping[str, Any]) -> str:
    """Return Terminating, InProgress, Failed or Current, deciding in kstatus' order."""
    status = live.get("status") or {}
    if live["metadata"].get("deletionTimestamp"):
        return "Terminating"
    if status.get("observedGeneration", 0) != live["metadata"]["generation"]:
        return "InProgress"
    conditions = {one["type"]: one["status"] for one in status.get("conditions") or []}
    if conditions.get("Reconciling") == "True":
        return "InProgress"
    if conditions.get("Stalled") == "True":
        return "Failed"
    if "Ready" in conditions and conditions["Ready"] != "True":
        return "InProgress"
    return "Current"


def assert_sane(live: Mapping[str, Any]) -> None:
    """Assert what must hold of every status at every time."""
    status = live["status"]
    conditions = {one["type"]: one for one in status["conditions"]}
    assert "Ready" in conditions
    assert len(conditions) == len(status["conditions"])
    assert not {"Reconciling", "Stalled"} <= set(conditions)
    for kind in {"Reconciling", "Stalled"} & set(conditions):
        assert conditions[kind]["status"] == "True"
        assert conditions["Ready"]["status"] == "False"
    assert status["observedGeneration"] <= live["metadata"]["generation"]
    for condition in conditions.values():
        assert condition["reason"]
        assert condition["message"].endswith((".", "…"))
        assert condition["observedGeneration"] <= status["observedGeneration"]
