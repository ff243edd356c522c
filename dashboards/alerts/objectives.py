"""Service level objectives per organization, as burn rates over several windows.

A burn rate is how many times faster than allowed the budget of 30 days is used up. An alert needs a
long window, so that little does not wake anybody, and a short one, so that it ends when the trouble
does (Site Reliability Workbook, chapter 5). A window with fewer answers than `minimumRequests` says
nothing: one failure of two is no outage.

Ratios are of sums, never means of ratios. Windows of a day and more are made of recorded hours, or
500 organizations would have Prometheus read millions of samples a minute.
"""

from dataclasses import dataclass
from typing import Final

from dashboards.alerts.model import Alert, Group, Recording, Severity

# Answers to these are counted as executions, which also know how a stream ended.
_EXECUTED: Final = "/v1/agents/.+/execute.*|/v1/chat/completions|/v1/responses|/v1/tools/run"
_NOBODYS: Final = "/health|/readiness|/metrics|/internal/.*"
_FAILED_ELSEWHERE: Final = (
    f'rate(bulkhead_requests_total{{route!~"{_EXECUTED}|{_NOBODYS}", status=~"5.."}}[5m])'
)
# How far the samples of a window are apart: the interval of the group that records them.
_MINUTE: Final = 60
_HOUR: Final = 3600


@dataclass(frozen=True, slots=True)
class _Window:
    name: str
    guarded: bool = False


@dataclass(frozen=True, slots=True)
class _Burn:
    factor: float
    long: _Window
    short: _Window


_5M: Final = _Window("5m")
_30M: Final = _Window("30m")
_1H: Final = _Window("1h", guarded=True)
_2H: Final = _Window("2h")
_6H: Final = _Window("6h", guarded=True)
_1D: Final = _Window("1d", guarded=True)
_3D: Final = _Window("3d", guarded=True)

_BURNS: Final[dict[Severity, tuple[_Burn, _Burn]]] = {
    "critical": (_Burn(14.4, _1H, _5M), _Burn(6, _6H, _30M)),
    "warning": (_Burn(3, _1D, _2H), _Burn(1, _3D, _6H)),
}
_WINDOWS: Final = (_5M, _30M, _1H, _2H, _6H)
_LONG_WINDOWS: Final = (_1D, _3D)


@dataclass(frozen=True, slots=True)
class _Objective:
    """What may fail for how many of all; `events` and `bad` are parts of recorded names."""

    alert: str
    events: str
    bad: str
    events_expr: str
    bad_expr: str
    percent: str
    summary: str
    description: str


_AVAILABILITY: Final = _Objective(
    alert="BulkheadAvailabilityBurning",
    events="answers",
    bad="failed_answers",
    events_expr=(
        "sum by (organization) (\n"
        '  rate(bulkhead_executions_total{outcome!~"refused|interrupted"}[5m])\n'
        f"  or {_FAILED_ELSEWHERE}\n)"
    ),
    bad_expr=(
        "sum by (organization) (\n"
        '  rate(bulkhead_executions_total{outcome="error"}[5m])\n'
        f"  or {_FAILED_ELSEWHERE}\n)"
    ),
    percent="<availabilityPercent>",
    summary=(
        "{{ $labels.organization }}: {{ $value | humanizePercentage }} of the answers fail, "
        "<availabilityPercent> % must not."
    ),
    description=(
        "At this rate the error budget of 30 days is spent early. See which class of error it is, "
        "and whether one provider, one package version or the store is behind it."
    ),
)
_FIRST_TOKEN: Final = _Objective(
    alert="BulkheadFirstTokenBurning",
    events="first_tokens",
    bad="late_first_tokens",
    events_expr="sum by (organization) (rate(bulkhead_first_token_seconds_count[5m]))",
    bad_expr=(
        "sum by (organization) (rate(bulkhead_first_token_seconds_count[5m]))\n"
        "- sum by (organization) (\n"
        '  rate(bulkhead_first_token_seconds_bucket{le=~"<firstTokenSeconds>([.]0)?"}[5m])\n)'
    ),
    percent="<firstTokenPercent>",
    summary=(
        "{{ $labels.organization }}: {{ $value | humanizePercentage }} of the first tokens take "
        "longer than <firstTokenSeconds> s, <firstTokenPercent> % must not."
    ),
    description=(
        "At this rate what may be slow in 30 days is spent early. See whether executions wait in "
        "the queue, for the model, or for the runtime's CPU."
    ),
)
_OBJECTIVES: Final = (_AVAILABILITY, _FIRST_TOKEN)


def groups() -> tuple[Group, ...]:
    """Return what is recorded and what is alerted on, in the order in which it is needed."""
    return (
        Group("bulkhead-objectives", "1m", tuple(_recordings())),
        Group("bulkhead-objectives-long", "2m", tuple(_long_recordings())),
        Group("bulkhead-objectives-alerts", "1m", tuple(_alerts())),
    )


def _recordings() -> list[Recording]:
    found = []
    for objective in _OBJECTIVES:
        events, bad = _rate(objective.events, _5M), _rate(objective.bad, _5M)
        found.append(Recording(events, objective.events_expr))
        # Where nothing ever failed there is no series to begin with.
        found.append(Recording(bad, f"{objective.bad_expr}\nor 0 * {events}"))
        found += [_hourly(events), _hourly(bad)]
        found += [_ratio(objective, window) for window in _WINDOWS]
    return found


def _hourly(rate5m: str) -> Recording:
    return Recording(rate5m.replace("rate5m", "rate1h"), f"avg_over_time({rate5m}[1h])")


def _long_recordings() -> list[Recording]:
    return [_ratio(objective, window) for objective in _OBJECTIVES for window in _LONG_WINDOWS]


def _ratio(objective: _Objective, window: _Window) -> Recording:
    events, bad = _samples(objective.events, window), _samples(objective.bad, window)
    if window is _5M:
        return Recording(_ratio_name(objective, window), f"{bad}\n/ {events}")
    expr = f"sum_over_time({bad})\n/ sum_over_time({events})"
    if window.guarded:
        seconds = _HOUR if window in _LONG_WINDOWS else _MINUTE
        expr += f"\nand sum_over_time({events}) * {seconds} >= <minimumRequests>"
    return Recording(_ratio_name(objective, window), expr)


def _samples(what: str, window: _Window) -> str:
    """Return the recorded rates of a window: one for each minute, of long windows for each hour."""
    if window is _5M:
        return _rate(what, _5M)
    if window in _LONG_WINDOWS:
        return f"{_rate(what, _1H)}[{window.name}:1h]"
    return f"{_rate(what, _5M)}[{window.name}]"


def _alerts() -> list[Alert]:
    return [
        Alert(
            name=objective.alert,
            severity=severity,
            expr=_burning(objective, burns),
            summary=objective.summary,
            description=objective.description,
        )
        for objective in _OBJECTIVES
        for severity, burns in _BURNS.items()
    ]


def _burning(objective: _Objective, burns: tuple[_Burn, ...]) -> str:
    any_of = "\n  or ".join(_burns(objective, burn) for burn in burns)
    # What is remembered of an organization that is gone wakes nobody.
    return f"({any_of})\nand {_rate(objective.events, _5M)}"


def _burns(objective: _Objective, burn: _Burn) -> str:
    bound = f"{burn.factor:g} * (100 - {objective.percent}) / 100"
    return (
        f"{_ratio_name(objective, burn.long)} > {bound}\n"
        f"    and {_ratio_name(objective, burn.short)} > {bound}"
    )


def _rate(what: str, window: _Window) -> str:
    return f"organization:bulkhead_{what}:rate{window.name}"


def _ratio_name(objective: _Objective, window: _Window) -> str:
    return f"organization:bulkhead_{objective.bad}:ratio{window.name}"
