"""PromQL that every panel shares: who is looked at, how counters become rates, what counts as bad.

Each selector carries `job`, `instance` and `organization`, so that a dashboard always shows what
its variables say. `organization` comes from the scraper for runtimes, from the operator itself for
what it tells of organizations.
"""

from typing import Final

WINDOW: Final = "$__rate_interval"
_TARGET: Final = ('job=~"$job"', 'instance=~"$instance"')
_ORGANIZATION: Final = 'organization=~"$organization"'

FAILED: Final = 'outcome="error"'
"""Failures of the platform or a model; what was refused or interrupted is none."""


def picked(metric: str, *matchers: str) -> str:
    """Return the series of a metric for the organizations that are looked at."""
    return f"{metric}{{{', '.join((*_TARGET, _ORGANIZATION, *matchers))}}}"


def operators(metric: str, *matchers: str) -> str:
    """Return the series of a metric of the operator's that names no organization."""
    return f"{metric}{{{', '.join((*_TARGET, *matchers))}}}"


def rate(series: str, *, ago: str = "") -> str:
    """Return the rate of a counter per second, now or some time `ago`."""
    return f"rate({series}[{WINDOW}]{f' offset {ago}' if ago else ''})"


def increase(series: str, window: str) -> str:
    """Return by how much a counter grew."""
    return f"increase({series}[{window}])"


def total(expression: str, *by: str) -> str:
    """Return the sum, one for each combination of the labels `by`."""
    return f"sum by ({', '.join(by)}) ({expression})" if by else f"sum({expression})"


def highest(expression: str, *by: str) -> str:
    """Return the maximum, one for each combination of the labels `by`."""
    return f"max by ({', '.join(by)}) ({expression})" if by else f"max({expression})"


def share(part: str, whole: str) -> str:
    """Return part of whole; nothing where there is no whole, 0 where there is no part."""
    return f"({part} or {whole} * 0) / ({whole} > 0)"


def quantile(q: float, buckets: str, *by: str) -> str:
    """Return a quantile of a histogram's buckets, one for each combination of `by`.

    Without an observation there is none, which Prometheus would tell as NaN.
    """
    return f"histogram_quantile({q}, {total(rate(buckets), 'le', *by)}) >= 0"


def or_zero(expression: str) -> str:
    """Return 0 where a count counts nothing."""
    return f"{expression} or vector(0)"


def failing(*by: str) -> str:
    """Return the share of executions that failed."""
    ended = total(rate(picked("bulkhead_executions_total")), *by)
    return share(total(rate(picked("bulkhead_executions_total", FAILED)), *by), ended)
