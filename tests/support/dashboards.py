"""The Grafana dashboards as the chart ships them: panels, queries, variables filled in."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final

FOLDER: Final = Path(__file__).parents[2] / "charts" / "bulkhead" / "dashboards"
FILES: Final = sorted(FOLDER.glob("*.json"))

Json = dict[str, Any]
_SELECTOR = re.compile(r"([a-zA-Z_:][\w:]*)\{([^}]*)\}")
_NAMED = re.compile(r'__name__=~"([^"]+)"')


def name(file: Path) -> str:
    """Return what a test is called after."""
    return file.stem


@cache
def text(file: Path) -> str:
    """Return a dashboard as it lies there."""
    return file.read_text()


def load(file: Path) -> Json:
    """Return a dashboard; the caller may change it."""
    loaded: Json = json.loads(text(file))
    return loaded


@dataclass(frozen=True)
class Query:
    """One query and where it stands."""

    dashboard: str
    where: str
    expression: str

    def __str__(self) -> str:
        return f"{self.dashboard}: {self.where}"


def panels(dashboard: Json) -> list[Json]:
    """Return the panels, without the headlines between them."""
    return [panel for panel in dashboard["panels"] if panel["type"] != "row"]


def queries(file: Path) -> Iterator[Query]:
    """Return the queries of all panels and marks."""
    dashboard = load(file)
    for panel in panels(dashboard):
        for target in panel["targets"]:
            yield Query(file.stem, f"{panel['title']} {target['refId']}", target["expr"])
    for mark in dashboard.get("annotations", {}).get("list", ()):
        yield Query(file.stem, f"mark {mark['name']}", mark["expr"])


def every_query() -> list[Query]:
    """Return the queries of all dashboards."""
    return [query for file in FILES for query in queries(file)]


def filled(expression: str, *, window: str, span: str) -> str:
    """Return an expression as Grafana would send it with every variable at All."""
    values = {
        "$__rate_interval": window,
        "$__range": span,
        "$job": ".+",
        "$instance": ".+",
        "$organization": ".+",
        "$package": ".+",
    }
    for variable, value in values.items():
        expression = expression.replace(variable, value)
    assert "$" not in expression, expression
    return expression


def selectors(expression: str) -> list[tuple[str, str]]:
    """Return the metrics that an expression reads, each with its matchers as text."""
    found = _SELECTOR.findall(expression)
    for matchers in re.findall(r"\{([^}]*)\}", expression):
        found += [(one, matchers) for names in _NAMED.findall(matchers) for one in names.split("|")]
    return found


def family(metric: str) -> str:
    """Return the name under which a metric is documented: a histogram's, without its parts."""
    return re.sub(r"_(bucket|sum|count)$", "", metric)
