"""Stories of single organizations: money, room, waiting, providers, keys, events."""

from tests.unit.alerts.cases import DAY, HOUR, Case, Firing, rising, still

ACME = {"organization": "acme"}


def of_acme(metric: str, **labels: str) -> str:
    """Return a series of acme's."""
    told = ",".join(f'{name}="{value}"' for name, value in (ACME | labels).items())
    return f"{metric}{{{told}}}"


SPENDING = "BulkheadSpendingRising"
COST = of_acme("bulkhead_cost_usd_total", agent="a")


def hourly(*parts: tuple[float, int]) -> str:
    """Return samples of a cost: (US dollars an hour, for how many hours), ..."""
    return rising(*((dollars / HOUR, hours * HOUR) for dollars, hours in parts))


def burst(days: int) -> str:
    """Return samples of a cost that is 2 dollars an hour, and 20 in two hours of every day."""
    return hourly(*((2, 22), (20, 2)) * days, (2, 22), (20, 2))


SPENDING_CASES = (
    Case(
        SPENDING,
        "two dollars an hour become twelve",
        {COST: hourly((2, 26), (12, 2))},
        27 * HOUR + 10,
        (
            Firing(
                "warning",
                "acme spent 12.00 US dollars in an hour, more than 3 times its busy hours of the "
                "last week.",
                ACME,
            ),
        ),
    ),
    Case(SPENDING, "two dollars an hour stay two", {COST: hourly((2, 28))}, 27 * HOUR),
    Case(
        SPENDING,
        "a cent an hour becomes a dollar, below what matters",
        {COST: hourly((0.01, 26), (1, 2))},
        27 * HOUR + 10,
    ),
    Case(
        SPENDING,
        "what is busy every day is busy again",
        {COST: burst(2)},
        2 * DAY + 23 * HOUR + 30,
    ),
    Case(
        SPENDING,
        "an organization of three hours has no past to rise from",
        {COST: hourly((1, 2), (100, 2))},
        3 * HOUR,
    ),
    Case(
        SPENDING,
        "a restart begins the counter anew",
        {COST: f"{hourly((2, 26))} {hourly((2, 2))}"},
        26 * HOUR + 10,
    ),
    Case(SPENDING, "the organization is deleted", {COST: hourly((2, 26), (12, 1))}, 28 * HOUR + 10),
    Case(SPENDING, "nothing is measured", {}, 10),
)

BUDGET = "BulkheadBudgetNearlySpent"


def budget(used: float, limit: float = 50, **labels: str) -> dict[str, str]:
    """Return how full acme's budget of a day is."""
    labels = {"scope": "day", "dimension": "cost", **labels}
    return {
        of_acme("bulkhead_budget_used", **labels): still(used, HOUR),
        of_acme("bulkhead_budget_limit", **labels): still(limit, HOUR),
    }


NEARLY_SPENT = Firing(
    "warning",
    "acme has used 95% of its day budget of cost.",
    ACME | {"scope": "day", "dimension": "cost"},
)
BUDGET_CASES = (
    Case(BUDGET, "47.50 of 50 dollars are used", budget(47.5), 10, (NEARLY_SPENT,)),
    Case(BUDGET, "40 of 50 dollars are used", budget(40), 10),
    Case(
        BUDGET,
        "the replica that looked last tells it",
        budget(20, pod="runtime-0") | budget(47.5, pod="runtime-1"),
        10,
        (NEARLY_SPENT,),
    ),
    Case(BUDGET, "a budget is used that bounds nothing", budget(0, limit=0), 10),
    Case(BUDGET, "nothing is measured", {}, 10),
)

NOT_READY = "BulkheadOrganizationNotReady"


def condition(organization: str, type_: str, status: str) -> str:
    """Return the series of a condition of an OrganizationRuntime."""
    return (
        'bulkhead_resource_condition{kind="OrganizationRuntime",namespace="",'
        f'name="{organization}",organization="{organization}",type="{type_}",status="{status}"}}'
    )


AWAY = Firing("critical", "acme: no replica of its runtime has answered for 10 minutes.", ACME)
STALLED = Firing("warning", "acme is Stalled: it is not what its spec says.", ACME)
NOT_READY_CASES = (
    Case(
        NOT_READY,
        "its pods do not start",
        {
            condition("acme", "WorkloadAvailable", "False"): still(1, HOUR),
            condition("acme", "Stalled", "True"): still(1, HOUR),
        },
        15,
        (AWAY, STALLED),
    ),
    Case(
        NOT_READY,
        "it waits for a pod that does not come",
        {
            condition("acme", "WorkloadAvailable", "False"): still(1, HOUR),
            condition("acme", "Reconciling", "True"): still(1, HOUR),
        },
        15,
        (AWAY,),
    ),
    Case(
        NOT_READY,
        "it serves, and what was asked for since is refused",
        {
            condition("acme", "WorkloadAvailable", "True"): still(1, HOUR),
            condition("acme", "Stalled", "True"): still(1, HOUR),
        },
        15,
        (STALLED,),
    ),
    Case(
        NOT_READY,
        "it is suspended",
        {
            condition("acme", "WorkloadAvailable", "False"): still(1, HOUR),
            condition("acme", "Ready", "False"): still(1, HOUR),
        },
        15,
    ),
    Case(
        NOT_READY,
        "it was made two minutes ago",
        {
            condition("acme", "WorkloadAvailable", "False"): still(1, 2),
            condition("acme", "Reconciling", "True"): still(1, 2),
        },
        2,
    ),
    Case(
        NOT_READY,
        "another organization is being changed",
        {
            condition("acme", "WorkloadAvailable", "False"): still(1, HOUR),
            condition("globex", "Reconciling", "True"): still(1, HOUR),
        },
        15,
    ),
    Case(NOT_READY, "nothing is measured", {}, 15),
)

CASES = (*SPENDING_CASES, *BUDGET_CASES, *NOT_READY_CASES)
