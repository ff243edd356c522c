"""The dashboards reach Grafana's sidecar: one ConfigMap each, where and as the values say."""

from collections.abc import Mapping

import pytest

from tests.support import chart, dashboards


def config_maps(values: Mapping[str, object]) -> dict[str, chart.Manifest]:
    found = chart.render({"dashboards": {"enabled": True, **values}}).of("ConfigMap")
    return {one["metadata"]["name"]: one for one in found}


def test_no_dashboard_is_installed_unasked() -> None:
    assert not chart.render().of("ConfigMap")


def test_every_dashboard_is_a_config_map_with_the_very_file() -> None:
    found = config_maps({})
    assert found.keys() == {f"bulkhead-dashboard-{file.stem}" for file in dashboards.FILES}
    for file in dashboards.FILES:
        data = found[f"bulkhead-dashboard-{file.stem}"]["data"]
        assert data == {f"bulkhead-{file.name}": dashboards.text(file).rstrip("\n")}


def test_the_sidecars_usual_label_and_folder_are_there() -> None:
    for one in config_maps({}).values():
        assert one["metadata"]["namespace"] == chart.NAMESPACE
        assert one["metadata"]["labels"]["grafana_dashboard"] == "1"
        assert one["metadata"]["annotations"] == {"grafana_folder": "Bulkhead"}


def test_label_annotations_and_namespace_can_be_others() -> None:
    values = {
        "namespace": "monitoring",
        "label": "example.com/dashboard",
        "labelValue": "yes",
        "annotations": {"grafana_folder": None, "example.com/folder": "Agents of all"},
    }
    for one in config_maps(values).values():
        assert one["metadata"]["namespace"] == "monitoring"
        assert one["metadata"]["labels"]["example.com/dashboard"] == "yes"
        assert "grafana_dashboard" not in one["metadata"]["labels"]
        assert one["metadata"]["annotations"] == {"example.com/folder": "Agents of all"}


@pytest.mark.parametrize("label", ["", "two words", "/nothing"])
def test_a_label_that_kubernetes_would_refuse_is_refused_at_once(label: str) -> None:
    with pytest.raises(chart.HelmError, match="dashboards/label"):
        config_maps({"label": label})
