"""Turns a registry of metrics into the rows of a page, under the names that a scrape shows."""

# ruff: noqa: INP001 (beside the scripts that write docs/reference; nothing else imports it)

from collections.abc import Iterator

from prometheus_client import CollectorRegistry
from prometheus_client.metrics import MetricWrapperBase

HEADER = ["| metric | type | labels | what |", "|---|---|---|---|"]


def metric_rows(registry: CollectorRegistry) -> list[str]:
    """Return a row for every metric, sorted; labelled ones too that nothing was counted in."""
    return sorted(_rows(registry))


def _rows(registry: CollectorRegistry) -> Iterator[str]:
    # The library shows the labels of a metric only once a value was counted.
    for collector in registry._collector_to_names:  # noqa: SLF001
        if isinstance(collector, MetricWrapperBase):
            yield row(
                collector._name,  # noqa: SLF001
                collector._type or "",  # noqa: SLF001
                collector._labelnames,  # noqa: SLF001
                collector._documentation,  # noqa: SLF001
            )
            continue
        for family in collector.collect():
            yield row(
                family.name,
                family.type,
                getattr(family, "_labelnames", ()),
                family.documentation,
            )


def row(name: str, kind: str, labels: tuple[str, ...], text: str) -> str:
    """Return the row of one metric."""
    shown = f"{name.removesuffix('_total')}_total" if kind == "counter" else name
    told = ", ".join(f"`{label}`" for label in labels)
    return f"| `{shown}` | {kind} | {told} | {text} |"
