"""The rules that Grafana's dashboard-linter documents, on the files that the chart ships."""

import re
from pathlib import Path

import pytest

from tests.support import dashboards
from tests.support.dashboards import FILES, Json, every_query, load, panels

EVERY_DASHBOARD = pytest.mark.parametrize("file", FILES, ids=dashboards.name)
EVERY_QUERY = pytest.mark.parametrize("query", every_query(), ids=str)
DATASOURCE = {"type": "prometheus", "uid": "${datasource}"}
UNITS = {
    *("none", "short", "percent", "percentunit", "currencyUSD", "bytes", "s", "dateTimeFromNow"),
    *("ops", "reqps"),
}
"""Of the units that the linter knows, those that are used."""


def variables(file: Path) -> dict[str, Json]:
    """Return the variables by name."""
    return {one["name"]: one for one in load(file)["templating"]["list"]}


@EVERY_DASHBOARD
def test_the_datasource_is_a_variable(file: Path) -> None:
    variable = variables(file)["datasource"]
    assert variable["type"] == "datasource"
    assert variable["query"] == "prometheus"
    assert variable["label"] == "Data source"


@EVERY_DASHBOARD
@pytest.mark.parametrize("name", ["job", "instance", "organization"])
def test_job_instance_and_organization_can_be_chosen(file: Path, name: str) -> None:
    variable = variables(file)[name]
    assert variable["type"] == "query"
    assert variable["datasource"] == DATASOURCE
    assert variable["label"] == name.capitalize()
    assert variable["multi"] is True
    assert variable["allValue"] == ".+"
    assert variable["current"]["value"] == "$__all"


@EVERY_DASHBOARD
def test_variables_are_asked_for_anew_when_the_time_changes(file: Path) -> None:
    asked = [one for one in variables(file).values() if one["type"] == "query"]
    assert {one["refresh"] for one in asked} == {2}


@EVERY_DASHBOARD
def test_nobody_edits_what_is_generated(file: Path) -> None:
    assert load(file)["editable"] is False


@EVERY_DASHBOARD
def test_every_panel_and_query_uses_the_chosen_datasource(file: Path) -> None:
    for panel in panels(load(file)):
        assert panel["datasource"] == DATASOURCE, panel["title"]
        assert [one["datasource"] for one in panel["targets"]] == [DATASOURCE] * len(
            panel["targets"]
        )


@EVERY_DASHBOARD
def test_every_panel_has_a_title_of_its_own_and_says_what_to_make_of_it(file: Path) -> None:
    shown = panels(load(file))
    titles = [panel["title"] for panel in shown]
    assert len(set(titles)) == len(titles)
    for panel in shown:
        assert len(panel["description"].split()) >= 8, panel["title"]
        assert panel["description"].endswith("."), panel["title"]


@EVERY_DASHBOARD
def test_every_panel_has_a_unit(file: Path) -> None:
    for panel in panels(load(file)):
        assert panel["fieldConfig"]["defaults"]["unit"] in UNITS, panel["title"]
        for override in panel["fieldConfig"]["overrides"]:
            named = [one["value"] for one in override["properties"] if one["id"] == "unit"]
            assert set(named) <= UNITS, panel["title"]


@EVERY_DASHBOARD
def test_panels_fill_the_width_and_do_not_overlap(file: Path) -> None:
    taken: set[tuple[int, int]] = set()
    for panel in load(file)["panels"]:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert place["x"] + place["w"] <= 24, panel["title"]
        assert not cells & taken, panel["title"]
        taken |= cells


@EVERY_DASHBOARD
def test_links_lead_to_the_others_and_keep_what_was_chosen(file: Path) -> None:
    (link,) = load(file)["links"]
    assert link["type"] == "dashboards"
    assert link["includeVars"] is True
    assert link["keepTime"] is True
    assert set(link["tags"]) <= set(load(file)["tags"])


def test_a_dashboard_that_is_linked_from_a_table_exists() -> None:
    known = {load(file)["uid"] for file in FILES}
    linked = {
        uid for file in FILES for uid in re.findall(r'"/d/([a-z-]+)\?', dashboards.text(file))
    }
    assert linked
    assert linked <= known


@EVERY_QUERY
def test_every_selector_obeys_job_and_instance(query: dashboards.Query) -> None:
    read = dashboards.selectors(query.expression)
    assert read
    for _, matchers in read:
        assert 'job=~"$job"' in matchers
        assert 'instance=~"$instance"' in matchers


@EVERY_QUERY
def test_rates_span_what_grafana_says(query: dashboards.Query) -> None:
    for window in re.findall(r"\brate\([^\[]*\[([^\]]*)\]", query.expression):
        assert window == "$__rate_interval"


@EVERY_QUERY
def test_counters_are_read_as_rates(query: dashboards.Query) -> None:
    counted = re.findall(
        r"(\w*)\(?\b\w+(?:_total|_bucket|_sum|_count)\{[^}]*\}(\[)?", query.expression
    )
    for function, ranged in counted:
        assert function in {"rate", "increase"}
        assert ranged


@EVERY_QUERY
def test_quantiles_keep_the_bounds_of_buckets(query: dashboards.Query) -> None:
    for grouped in re.findall(r"histogram_quantile\([\d.]+, (.{0,12})", query.expression):
        assert grouped.startswith("sum by (le")
