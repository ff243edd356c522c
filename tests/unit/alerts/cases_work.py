"""Stories of an organization's work: its queue, its storage, providers, keys and events."""

from tests.unit.alerts.cases import DAY, HOUR, Case, Firing, rising, still
from tests.unit.alerts.cases_organizations import ACME, of_acme

QUEUE = "BulkheadQueueAgeing"
AGE = of_acme("bulkhead_queue_oldest_age_seconds")
QUEUE_CASES = (
    Case(
        QUEUE,
        "an execution waits for two minutes",
        {AGE: still(120, HOUR)},
        10,
        (Firing("warning", "acme: an execution waits 2m 0s for a place.", ACME),),
    ),
    Case(QUEUE, "executions wait for five seconds", {AGE: still(5, HOUR)}, 10),
    Case(QUEUE, "the queue was long for three minutes", {AGE: "0x5 60x2 0x20"}, 8),
    Case(QUEUE, "nothing waits", {AGE: still(0, HOUR)}, 10),
    Case(QUEUE, "the runtime is gone", {AGE: f"{still(120, 10)} stale"}, 20),
    Case(QUEUE, "nothing is measured", {}, 10),
)

STORAGE = "BulkheadStorageNearlyFull"


def storage(pool: float, volume: float) -> dict[str, str]:
    """Return how many of a hundred bytes are used."""
    return {
        of_acme("bulkhead_pool_used_bytes"): still(pool, HOUR),
        of_acme("bulkhead_pool_capacity_bytes"): still(100, HOUR),
        of_acme("bulkhead_storage_used_bytes"): still(volume, HOUR),
        of_acme("bulkhead_storage_capacity_bytes"): still(100, HOUR),
    }


STORAGE_CASES = (
    Case(
        STORAGE,
        "the pool is nearly full",
        storage(95, 50),
        20,
        (
            Firing(
                "warning", "acme: its memory pool is 95% full.", ACME | {"storage": "memory pool"}
            ),
        ),
    ),
    Case(
        STORAGE,
        "the volume is nearly full",
        storage(50, 92),
        20,
        (Firing("warning", "acme: its volume is 92% full.", ACME | {"storage": "volume"}),),
    ),
    Case(STORAGE, "both have room", storage(89, 50), 20),
    Case(
        STORAGE,
        "an organization on a shared store has no volume",
        {
            of_acme("bulkhead_pool_used_bytes"): still(10, HOUR),
            of_acme("bulkhead_pool_capacity_bytes"): still(100, HOUR),
        },
        20,
    ),
    Case(STORAGE, "nothing is measured", {}, 20),
)

PROVIDER = "BulkheadProviderFailing"
CIRCUIT = of_acme("bulkhead_model_circuit_open", provider="hosted")
FALLBACKS = of_acme("bulkhead_model_fallbacks_total", provider="hosted", instead="spare")
CALLS = of_acme("bulkhead_model_calls_total", provider="hosted", model="large", outcome="ok")
FAILS = Firing(
    "warning",
    "acme: provider hosted fails; it is left alone, or other models answer instead.",
    ACME | {"provider": "hosted"},
)
PROVIDER_CASES = (
    Case(PROVIDER, "its circuit is open", {CIRCUIT: still(1, HOUR)}, 15, (FAILS,)),
    Case(
        PROVIDER,
        "its circuit opens again after every try",
        {CIRCUIT: "1 0 0 1 0 0 1 0 0 1 0 0 1 0 0 1 0 0 1 0 0"},
        17,
        (FAILS,),
    ),
    Case(
        PROVIDER,
        "another model answers for half of its calls",
        {CALLS: rising((10, HOUR)), FALLBACKS: rising((5, HOUR))},
        20,
        (FAILS,),
    ),
    Case(
        PROVIDER,
        "its circuit was open for two minutes",
        {CIRCUIT: f"1 1 {still(0, HOUR)}"},
        15,
    ),
    Case(
        PROVIDER,
        "another model answers for one of twenty calls",
        {CALLS: rising((20, HOUR)), FALLBACKS: rising((1, HOUR)), CIRCUIT: still(0, HOUR)},
        20,
    ),
    Case(PROVIDER, "nobody calls it", {CALLS: still(7, HOUR), FALLBACKS: still(3, HOUR)}, 20),
    Case(
        PROVIDER,
        "a restart begins the counters anew",
        {
            CALLS: f"{rising((20, 30))} {rising((20, 30))}",
            FALLBACKS: f"{rising((1, 30))} {rising((1, 30))}",
        },
        32,
    ),
    Case(PROVIDER, "nothing is measured", {}, 15),
)

KEY = "BulkheadKeyExpiring"
EXPIRY = of_acme("bulkhead_api_key_expires_timestamp_seconds", key="robot")


def expires(days: float) -> str:
    """Return the Unix time of a moment after the beginning of the story."""
    return str(days * 86_400)


KEY_CASES = (
    Case(
        KEY,
        "a key of some days expires within a week",
        {EXPIRY: still(float(expires(4)), 2 * DAY)},
        30 * HOUR,
        (
            Firing(
                "warning",
                "acme: API key robot expires in 2d 18h 0m 0s.",
                ACME | {"key": "robot"},
            ),
        ),
    ),
    Case(
        KEY,
        "a key expires in a month",
        {EXPIRY: still(float(expires(30)), 2 * DAY)},
        30 * HOUR,
    ),
    Case(
        KEY,
        "a key that was made for an hour",
        {EXPIRY: f"_x{29 * HOUR} {still(float(expires(1.3)), 2 * HOUR)}"},
        30 * HOUR,
    ),
    Case(
        KEY,
        "a key has expired",
        {EXPIRY: still(float(expires(1.2)), 2 * DAY)},
        30 * HOUR,
    ),
    Case(KEY, "nothing is measured", {}, 10),
)

EVENTS = "BulkheadEventsLost"
LOST = of_acme("bulkhead_events_lost_total")
DROPPED = 'bulkhead_events_dropped_total{pod="bulkhead-operator-0"}'
EVENTS_CASES = (
    Case(
        EVENTS,
        "a runtime loses three events",
        {LOST: "0x10 3x20"},
        20,
        (Firing("warning", "acme lost 3 events.", ACME),),
    ),
    Case(
        EVENTS,
        "the operator drops two",
        {DROPPED: "0x10 2x20"},
        20,
        (Firing("warning", "The operator lost 2 events."),),
    ),
    Case(EVENTS, "none were lost", {LOST: still(0, HOUR), DROPPED: still(0, HOUR)}, 20),
    Case(EVENTS, "some were lost an hour ago", {LOST: "0x10 3x80"}, 80),
    Case(EVENTS, "a restart begins the counter anew", {LOST: f"{still(0, 30)} {still(0, 9)}"}, 35),
    Case(EVENTS, "nothing is measured", {}, 20),
)

CASES = (*QUEUE_CASES, *STORAGE_CASES, *PROVIDER_CASES, *KEY_CASES, *EVENTS_CASES)
