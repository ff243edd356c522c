"""What all dashboards have in common: variables, links to each other, marks in time."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from grafana_foundation_sdk.builders import dashboard as builders
from grafana_foundation_sdk.models import dashboard as models

from dashboards.grafana.panels import DATASOURCE, Panel

TAG: Final = "bulkhead"
ANY: Final = ".+"
IN_SIGHT: Final = ""
"""Where links are shown; the SDK would hide them in a menu."""


@dataclass(frozen=True)
class Section:
    """A headline and the panels below it."""

    title: str
    panels: Sequence[Panel]


@dataclass(frozen=True)
class Mark:
    """A vertical line at each moment for which the query has a value."""

    name: str
    expression: str
    text: str
    colour: str


def framed(
    name: str,
    title: str,
    text: str,
    sections: Sequence[Section],
    *,
    variables: Sequence[builders.QueryVariable] = (),
    marks: Sequence[Mark] = (),
) -> models.Dashboard:
    """Return a whole dashboard; `name` becomes its file, and with a prefix its uid."""
    dashboard = (
        builders.Dashboard(f"Bulkhead / {title}")
        .uid(f"bulkhead-{name}")
        .description(text)
        .tags([TAG])
        .readonly()
        .tooltip(models.DashboardCursorSync.CROSSHAIR)
        .timezone("browser")
        .time("now-3h", "now")
        .refresh("30s")
        .link(_links())
    )
    for variable in (_datasource(), *_targets(), *variables):
        dashboard.with_variable(variable)
    for mark in marks:
        dashboard.annotation(_annotation(mark))
    for section in sections:
        dashboard.with_row(builders.Row(section.title))
        for panel in section.panels:
            dashboard.with_panel(panel)
    return dashboard.build()


def choice(name: str, label: str, query: str, text: str) -> builders.QueryVariable:
    """Return a variable whose values Prometheus knows; several or all of them can be chosen."""
    return (
        builders.QueryVariable(name)
        .label(label)
        .description(text)
        .datasource(DATASOURCE)
        .query({"query": query, "refId": f"{name}-variable"})
        .refresh(models.VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(models.VariableSort.ALPHABETICAL_ASC)
        .multi(True)
        .include_all(True)
        .all_value(ANY)
        .current(models.VariableOption(text="All", value="$__all", selected=True))
    )


def _datasource() -> builders.DatasourceVariable:
    return (
        builders.DatasourceVariable("datasource")
        .label("Data source")
        .description("The Prometheus that scrapes operator and runtimes.")
        .type("prometheus")
    )


def _targets() -> Sequence[builders.QueryVariable]:
    runtimes_and_operator = 'bulkhead_build_info{job=~"$job"}'
    organizations = (
        '{__name__=~"bulkhead_organization_limit|bulkhead_executions_active", job=~"$job"}'
    )
    return (
        choice(
            "job",
            "Job",
            "label_values(bulkhead_build_info, job)",
            "Scrape jobs: one of the operator, one of the runtimes.",
        ),
        choice(
            "instance",
            "Instance",
            f"label_values({runtimes_and_operator}, instance)",
            "Single replicas, of the operator or of an organization.",
        ),
        choice(
            "organization",
            "Organization",
            f"label_values({organizations}, organization)",
            "Whose runtimes are looked at.",
        ),
    )


def _links() -> builders.DashboardLink:
    return (
        builders.DashboardLink("Bulkhead")
        .type(models.DashboardLinkType.DASHBOARDS)
        .tags([TAG])
        .include_vars(True)
        .keep_time(True)
        .placement(IN_SIGHT)
    )


def _annotation(mark: Mark) -> builders.AnnotationQuery:
    return (
        builders.AnnotationQuery()
        .name(mark.name)
        .datasource(DATASOURCE)
        .enable(True)
        .expr(mark.expression)
        .step("60s")
        .title_format(mark.name)
        .text_format(mark.text)
        .icon_color(mark.colour)
    )
