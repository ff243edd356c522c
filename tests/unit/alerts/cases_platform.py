"""Stories of what serves all organizations: rollouts and the operator."""

from tests.unit.alerts.cases import HOUR, Case, Firing, rising, still

ROLLOUT = "BulkheadRolloutStalled"
PACKAGE = {"organization": "acme", "namespace": "org-acme", "name": "assistant"}
TOLD = ",".join(f'{name}="{value}"' for name, value in PACKAGE.items())
STALLED = f'bulkhead_resource_condition{{kind="AgentPackage",{TOLD},type="Stalled",status="True"}}'
NEEDS_A_PERSON = Firing(
    "warning",
    "acme: package assistant was rolled back, is held or refused, or its rollout has not moved "
    "for half an hour.",
    PACKAGE,
)


def phase(name: str) -> str:
    """Return the series of a package's rollout in a phase."""
    return f'bulkhead_rollout_phase{{{TOLD},phase="{name}"}}'


ROLLOUT_CASES = (
    Case(
        ROLLOUT,
        "a version was taken back",
        {STALLED: still(1, HOUR), phase("Restored"): still(1, HOUR)},
        5,
        (NEEDS_A_PERSON,),
    ),
    Case(
        ROLLOUT,
        "a version is being loaded for forty minutes",
        {phase("Load"): still(1, HOUR)},
        40,
        (NEEDS_A_PERSON,),
    ),
    Case(
        ROLLOUT,
        "checks do not end after a long load",
        {phase("Load"): "1x14 stale", phase("HealthCheck"): f"_x15 {still(1, 30)}"},
        40,
        (NEEDS_A_PERSON,),
    ),
    Case(ROLLOUT, "a version is being loaded for ten minutes", {phase("Load"): "1x9"}, 9),
    Case(
        ROLLOUT,
        "a canary is held at a step for two hours, as its plan says",
        {phase("Shift"): still(1, 2 * HOUR)},
        110,
    ),
    Case(ROLLOUT, "a version serves", {phase("Complete"): still(1, HOUR)}, 50),
    Case(ROLLOUT, "the package is deleted", {STALLED: "1x10 stale"}, 20),
    Case(ROLLOUT, "nothing is measured", {}, 40),
)

LEADING = "BulkheadOperatorNotLeading"
NOBODY = Firing("critical", "No replica of the operator leads.")


def leader(replica: int) -> str:
    """Return the series that tells whether a replica leads."""
    return f'bulkhead_leader{{pod="bulkhead-operator-{replica}"}}'


LEADING_CASES = (
    Case(
        LEADING,
        "both replicas stand by",
        {leader(0): still(0, HOUR), leader(1): still(0, HOUR)},
        10,
        (NOBODY,),
    ),
    Case(LEADING, "nobody is there, or nobody is scraped", {}, 10, (NOBODY,)),
    Case(LEADING, "one leads", {leader(0): still(0, HOUR), leader(1): still(1, HOUR)}, 10),
    Case(
        LEADING,
        "another takes over within a minute",
        {leader(0): "1x9 stale", leader(1): "0x10 1x20"},
        20,
    ),
)

DEAF = "BulkheadOperatorDeaf"
HEARD = 'bulkhead_watch_last_event_age_seconds{kind="AgentPackage"}'
DEAF_CASES = (
    Case(
        DEAF,
        "a watch is silent",
        {HEARD: "0+60x30"},
        20,
        (
            Firing(
                "warning",
                "The operator heard nothing of AgentPackage for 20m 0s.",
                {"kind": "AgentPackage"},
            ),
        ),
    ),
    Case(
        DEAF,
        "a restart of the process does not help",
        {HEARD: "0 60 120 185 0 60 120 185 0 60 120 185 0 60 120 185 0 60 120 185"},
        18,
        (
            Firing(
                "warning",
                "The operator heard nothing of AgentPackage for 3m 5s.",
                {"kind": "AgentPackage"},
            ),
        ),
    ),
    Case(DEAF, "a watch hears a bookmark each minute", {HEARD: "5 50 20 65 30 10 55 40x30"}, 30),
    Case(DEAF, "this replica does not lead", {}, 20),
)

FAILING = "BulkheadReconcileFailing"


def reconciles(controller: str) -> str:
    """Return the series of a controller's reconciles that went well."""
    return f'controller_runtime_reconcile_total{{controller="{controller}",result="success"}}'


def errors(controller: str) -> tuple[str, str]:
    """Return both series of a controller's reconciles that failed."""
    return (
        f'controller_runtime_reconcile_total{{controller="{controller}",result="error"}}',
        f'controller_runtime_reconcile_errors_total{{controller="{controller}"}}',
    )


FAILING_CASES = (
    Case(
        FAILING,
        "a quarter fails",
        {reconciles("agentpackage"): rising((3, 2 * HOUR))}
        | dict.fromkeys(errors("agentpackage"), rising((1, 2 * HOUR))),
        60,
        (
            Firing(
                "warning",
                "25% of the reconciles of agentpackage fail and are tried again.",
                {"controller": "agentpackage"},
            ),
        ),
    ),
    Case(
        FAILING,
        "one of fifty fails",
        {reconciles("agentpackage"): rising((49, 2 * HOUR))}
        | dict.fromkeys(errors("agentpackage"), rising((1, 2 * HOUR))),
        60,
    ),
    Case(
        FAILING,
        "all failed while the API server was away for ten minutes",
        {reconciles("agentpackage"): rising((10, 30), (0, 10), (10, 80))}
        | dict.fromkeys(errors("agentpackage"), rising((0, 30), (5, 10), (0, 80))),
        42,
    ),
    Case(
        FAILING,
        "another operator of the cluster fails under the same names",
        dict.fromkeys(errors("helmrelease"), rising((1, 2 * HOUR))),
        60,
    ),
    Case(FAILING, "nothing is reconciled", {reconciles("agentpackage"): still(5, HOUR)}, 50),
    Case(FAILING, "nothing is measured", {}, 50),
)

CASES = (*ROLLOUT_CASES, *LEADING_CASES, *DEAF_CASES, *FAILING_CASES)
