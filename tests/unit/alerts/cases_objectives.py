"""Stories of the objectives: answers that fail and first tokens that come late."""

from tests.unit.alerts.cases import HOUR, Case, Firing, rising

AVAILABILITY = "BulkheadAvailabilityBurning"
FIRST_TOKEN = "BulkheadFirstTokenBurning"


def executions(outcome: str, organization: str = "acme") -> str:
    """Return the series of an organization's executions of one outcome."""
    labels = f'organization="{organization}",agent="a",package="p",version="1",outcome="{outcome}"'
    return f"bulkhead_executions_total{{{labels}}}"


def requests(route: str, status: int) -> str:
    """Return the series of acme's answers of one route and status."""
    return f'bulkhead_requests_total{{organization="acme",route="{route}",status="{status}"}}'


def traffic(failed: tuple[tuple[float, int], ...], per_minute: float = 100) -> dict[str, str]:
    """Return executions of which some fail: (how many a minute, for how many minutes), ..."""
    completed = tuple((per_minute - each, minutes) for each, minutes in failed)
    return {executions("completed"): rising(*completed), executions("error"): rising(*failed)}


def fails(share: str, severity: str, organization: str = "acme") -> Firing:
    """Return the alert on availability."""
    summary = f"{organization}: {share} of the answers fail, 99.5 % must not."
    return Firing(severity, summary, {"organization": organization})


AVAILABILITY_CASES = (
    Case(
        AVAILABILITY,
        "a tenth of the answers fails for an hour, which wakes somebody up",
        traffic(((10, 2 * HOUR),)),
        90,
        (fails("10%", "critical"), fails("10%", "warning")),
    ),
    Case(
        AVAILABILITY,
        "one answer in fifty fails for hours, which can wait for the morning",
        traffic(((2, 5 * HOUR),)),
        4 * HOUR,
        (fails("2%", "warning"),),
    ),
    Case(
        AVAILABILITY,
        "one answer in a hundred fails for hours, which can wait too",
        traffic(((1, 5 * HOUR),)),
        4 * HOUR,
        (fails("1%", "warning"),),
    ),
    Case(
        AVAILABILITY,
        "three answers in a thousand fail, which the objective allows",
        traffic(((0.3, 5 * HOUR),)),
        4 * HOUR,
    ),
    Case(
        AVAILABILITY,
        "the page ends with the trouble, the ticket stays",
        traffic(((0, 4 * HOUR), (100, 20), (0, HOUR))),
        5 * HOUR + 5,
        (fails("6.601%", "warning"),),
    ),
    Case(AVAILABILITY, "nothing is measured", {}, HOUR),
    Case(AVAILABILITY, "nobody asks anything", traffic(((0, 2 * HOUR),), per_minute=0), 90),
    Case(
        AVAILABILITY,
        "all of five answers fail, too few to say anything",
        {executions("error"): rising((0, 60), (1, 5), (0, 60))},
        70,
    ),
    Case(
        AVAILABILITY,
        "half of the requests are refused or interrupted, which is no failure",
        {
            executions("completed"): rising((50, 2 * HOUR)),
            executions("refused"): rising((40, 2 * HOUR)),
            executions("interrupted"): rising((10, 2 * HOUR)),
        },
        90,
    ),
    Case(
        AVAILABILITY,
        "many interrupted and refused requests do not hide the failures of others",
        traffic(((10, 2 * HOUR),))
        | {
            executions("refused"): rising((900, 2 * HOUR)),
            executions("interrupted"): rising((900, 2 * HOUR)),
        },
        90,
        (fails("10%", "critical"), fails("10%", "warning")),
    ),
    Case(
        AVAILABILITY,
        "a restart begins every counter anew",
        {
            executions("completed"): f"{rising((100, 70))} {rising((100, 50))}",
            executions("error"): f"{rising((0.1, 70))} {rising((0.1, 50))}",
        },
        72,
    ),
    Case(
        AVAILABILITY,
        "an organization that failed is deleted",
        traffic(((50, 70),)),
        80,
    ),
    Case(
        AVAILABILITY,
        "the failures of one organization are not those of another",
        traffic(((0, 2 * HOUR),))
        | {executions("error", "globex"): rising((10, 2 * HOUR))}
        | {executions("completed", "globex"): rising((10, 2 * HOUR))},
        90,
        (fails("50%", "critical", "globex"), fails("50%", "warning", "globex")),
    ),
    Case(
        AVAILABILITY,
        "a failure that begins with a new series counts from its second sample on",
        {
            executions("completed"): rising((100, 3 * HOUR)),
            executions("error"): f"_x{HOUR} {rising((50, 2 * HOUR), start=50)}",
        },
        HOUR + 30,
        (fails("19.1%", "critical"),),
    ),
    Case(
        AVAILABILITY,
        "requests fail before they are executions, since keys cannot be checked",
        {requests("other", 503): rising((10, 2 * HOUR))},
        90,
        (fails("100%", "critical"), fails("100%", "warning")),
    ),
    Case(
        AVAILABILITY,
        "a failed request is not counted twice, nor are probes that fail",
        {
            executions("completed"): rising((1000, 2 * HOUR)),
            requests("/v1/chat/completions", 502): rising((100, 2 * HOUR)),
            requests("/v1/agents/{agent}/execute/stream", 502): rising((100, 2 * HOUR)),
            requests("/readiness", 503): rising((100, 2 * HOUR)),
        },
        90,
    ),
)


def first_tokens(in_time: float, late: float, minutes: int) -> dict[str, str]:
    """Return a histogram of first tokens: so many a minute in time and late."""
    labels = 'organization="acme",agent="a"'
    every = ((in_time + late, minutes),)
    return {
        f'bulkhead_first_token_seconds_bucket{{{labels},le="5.0"}}': rising((in_time, minutes)),
        f'bulkhead_first_token_seconds_bucket{{{labels},le="10.0"}}': rising(*every),
        f'bulkhead_first_token_seconds_bucket{{{labels},le="+Inf"}}': rising(*every),
        f"bulkhead_first_token_seconds_count{{{labels}}}": rising(*every),
    }


def late(share: str, severity: str) -> Firing:
    """Return the alert on first tokens."""
    summary = f"acme: {share} of the first tokens take longer than 5 s, 95 % must not."
    return Firing(severity, summary, {"organization": "acme"})


FIRST_TOKEN_CASES = (
    Case(
        FIRST_TOKEN,
        "four of five first tokens come late for an hour, which wakes somebody up",
        first_tokens(20, 80, 2 * HOUR),
        90,
        (late("80%", "critical"), late("80%", "warning")),
    ),
    Case(
        FIRST_TOKEN,
        "a fifth comes late for hours, which can wait for the morning",
        first_tokens(80, 20, 5 * HOUR),
        4 * HOUR,
        (late("20%", "warning"),),
    ),
    Case(
        FIRST_TOKEN,
        "one of twenty-five comes late, which the objective allows",
        first_tokens(96, 4, 5 * HOUR),
        4 * HOUR,
    ),
    Case(FIRST_TOKEN, "nothing is measured", {}, HOUR),
    Case(FIRST_TOKEN, "nobody asks anything", first_tokens(0, 0, 2 * HOUR), 90),
    Case(
        FIRST_TOKEN,
        "a single late token in an hour, too few to say anything",
        first_tokens(0, 0.02, 2 * HOUR),
        90,
    ),
    Case(
        FIRST_TOKEN,
        "a restart begins every counter anew",
        {series: f"{samples} {samples}" for series, samples in first_tokens(100, 0.1, 70).items()},
        72,
    ),
    Case(FIRST_TOKEN, "an organization that was slow is deleted", first_tokens(0, 100, 70), 80),
)

CASES = (*AVAILABILITY_CASES, *FIRST_TOKEN_CASES)
