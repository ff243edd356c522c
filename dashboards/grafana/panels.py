"""The three kinds of panels that dashboards are made of, each with a title, a text and a unit.

The text says what the panel shows and what to do about it; thresholds are coloured only where a
value asks for something.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Literal

from grafana_foundation_sdk.builders import common as common_builders
from grafana_foundation_sdk.builders import dashboard as builders
from grafana_foundation_sdk.builders import prometheus, stat, table, timeseries
from grafana_foundation_sdk.models import common, units
from grafana_foundation_sdk.models import dashboard as models
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

DATASOURCE: Final = common.DataSourceRef(type_val="prometheus", uid="${datasource}")
_GREEN, _ORANGE, _RED = "green", "orange", "red"
_NO_COLOUR: Final = "text"
_SEEN: Final = "transparent"

Panel = timeseries.Panel | stat.Panel | table.Panel


@dataclass(frozen=True)
class Line:
    """A query and the legend of its series."""

    expression: str
    legend: str


@dataclass(frozen=True)
class Column:
    """A query whose value, one per row, is a column of a table."""

    header: str
    expression: str
    unit: str = units.Short
    limits: tuple[float, ...] = ()


def graph(
    title: str,
    text: str,
    unit: str,
    *lines: Line,
    limits: tuple[float, ...] = (),
    stacked: bool = False,
    width: int = 12,
) -> timeseries.Panel:
    """Return lines over time; `limits` are where values become orange and red."""
    legend = (
        common_builders.VizLegendOptions()
        .show_legend(True)
        .display_mode(common.LegendDisplayMode.TABLE)
        .placement(common.LegendPlacement.BOTTOM)
        .calcs(["lastNotNull", "max"])
    )
    tooltip = (
        common_builders.VizTooltipOptions()
        .mode(common.TooltipDisplayMode.MULTI)
        .sort(common.SortOrder.DESCENDING)
    )
    panel = (
        timeseries.Panel()
        .title(title)
        .description(text)
        .datasource(DATASOURCE)
        .unit(unit)
        .min(0)
        .fill_opacity(20 if stacked else 5)
        .show_points(common.VisibilityMode.NEVER)
        .legend(legend)
        .tooltip(tooltip)
        .height(8)
        .span(width)
    )
    if stacked:
        panel.stacking(common_builders.StackingConfig().mode(common.StackingMode.NORMAL).group("A"))
    if limits:
        panel.thresholds(_thresholds(limits, calm=_SEEN)).thresholds_style(
            common_builders.GraphThresholdsStyleConfig().mode(
                common.GraphThresholdsStyleMode.DASHED
            )
        )
    for letter, line in zip("ABCDEFGH", lines, strict=False):
        query = _query(letter, line.expression).legend_format(line.legend).range()
        # Exemplars lead from a slow bucket to the trace of one execution in it.
        panel.with_target(
            query.exemplar(True) if "histogram_quantile" in line.expression else query
        )
    return panel


def figure(
    title: str,
    text: str,
    unit: str,
    expression: str,
    *,
    limits: tuple[float, ...] = (),
    legend: str = "",
    width: int = 4,
) -> stat.Panel:
    """Return single values, one for each series; `limits` are where it gets orange and red."""
    return (
        stat.Panel()
        .title(title)
        .description(text)
        .datasource(DATASOURCE)
        .unit(unit)
        .thresholds(_thresholds(limits, calm=_GREEN if limits else _NO_COLOUR))
        .color_mode(common.BigValueColorMode.VALUE)
        .graph_mode(common.BigValueGraphMode.NONE if legend else common.BigValueGraphMode.AREA)
        .reduce_options(
            common_builders.ReduceDataOptions().calcs(["lastNotNull"]).fields("").values(False)
        )
        .no_value("none")
        .with_target(_query("A", expression).legend_format(legend or title).range())
        .height(4)
        .span(width)
    )


def listing(
    title: str,
    text: str,
    *columns: Column,
    named: Sequence[str],
    sort: str = "",
    order: Literal["highest", "lowest"] = "highest",
    most: int | None = None,
    width: int = 12,
) -> table.Panel:
    """Return a table at the end of the range: a row per combination of the labels `named`.

    With `most`, only so many rows: those with the highest values in the first column.
    """
    if most is not None:
        columns = _topmost(most, columns, named)
    panel = (
        table.Panel()
        .title(title)
        .description(text)
        .datasource(DATASOURCE)
        .unit(columns[0].unit)
        .no_value("none")
        .transformations(_one_table(columns, named))
        .sort_by(
            [
                common_builders.TableSortByFieldState()
                .display_name(sort or columns[0].header)
                .desc(order == "highest")
            ]
        )
        .height(8)
        .span(width)
    )
    for letter, one in zip("ABCDEF", columns, strict=False):
        panel.with_target(_query(letter, one.expression).format(PromQueryFormat.TABLE).instant())
        panel.override_by_name(one.header, _column(one))
    if "organization" in named:
        panel.override_by_name("organization", [_link_to_organization()])
    return panel


def _one_table(
    columns: Sequence[Column], named: Sequence[str]
) -> list[models.DataTransformerConfig]:
    """Return what makes one table of the answers to all queries, with headers for people."""
    renamed = {
        f"Value #{letter}": one.header for letter, one in zip("ABCDEF", columns, strict=False)
    }
    # With one query alone the column is called so.
    renamed["Value"] = columns[0].header
    shown = [*named, *(one.header for one in columns)]
    steps: list[tuple[str, dict[str, Any]]] = [
        ("merge", {}),
        ("organize", {"excludeByName": {"Time": True}, "renameByName": renamed}),
        ("filterFieldsByName", {"include": {"names": shown}}),
    ]
    return [models.DataTransformerConfig(id_val=name, options=given) for name, given in steps]


def _topmost(most: int, columns: Sequence[Column], named: Sequence[str]) -> tuple[Column, ...]:
    first, *others = columns
    chosen = f"topk({most}, {first.expression})"
    row = ", ".join(named)
    return (
        replace(first, expression=chosen),
        *(replace(one, expression=f"({one.expression}) and on ({row}) {chosen}") for one in others),
    )


def _column(column: Column) -> list[models.DynamicConfigValue]:
    properties = [models.DynamicConfigValue(id_val="unit", value=column.unit)]
    if column.limits:
        steps = _thresholds(column.limits, calm=_GREEN).build()
        properties += [
            models.DynamicConfigValue(id_val="thresholds", value=steps),
            models.DynamicConfigValue(
                id_val="custom.cellOptions", value={"type": common.TableCellDisplayMode.COLOR_TEXT}
            ),
        ]
    return properties


def _link_to_organization() -> models.DynamicConfigValue:
    link = {
        "title": "Look at ${__value.raw}",
        "url": (
            "/d/bulkhead-organization?${datasource:queryparam}"
            "&var-organization=${__value.raw}&${__url_time_range}"
        ),
    }
    return models.DynamicConfigValue(id_val="links", value=[link])


def _query(letter: str, expression: str) -> prometheus.Dataquery:
    return prometheus.Dataquery().ref_id(letter).datasource(DATASOURCE).expr(expression)


def _thresholds(limits: tuple[float, ...], *, calm: str) -> builders.ThresholdsConfig:
    steps = [models.Threshold(value=None, color=calm)]
    # The last limit is where a value is bad, one before it where it gets there.
    colours = (_ORANGE, _RED)[-len(limits) :] if limits else ()
    for value, colour in zip(limits, colours, strict=True):
        steps.append(models.Threshold(value=value, color=colour))
    return builders.ThresholdsConfig().mode(models.ThresholdsMode.ABSOLUTE).steps(steps)
