"""Two replicas that share PostgreSQL and Redis are one runtime, whichever of them is asked."""

import asyncio
from collections.abc import Iterator

import pytest

from tests.support.cluster import (
    PATIENTLY,
    ROOT,
    Endpoint,
    Kubectl,
    KubectlError,
    cluster_tool,
    settled,
)
from tests.support.runtime_pods import RuntimePod, runtime_pods

ORGANIZATION = "hooli"
NAMESPACE = "org-hooli"
STORES = "bulkhead-stores"
EXAMPLE = ROOT / "examples" / "shared-stores" / "hooli.yaml"
READY = ("--for=condition=Ready", f"orgrt/{ORGANIZATION}", "--timeout=180s")


@pytest.fixture(scope="module")
def shared(kubectl: Kubectl) -> Iterator[Endpoint]:
    """The example, applied as its reader applies it."""
    cluster_tool("stores", ORGANIZATION)
    kubectl("apply", "-f", str(EXAMPLE))
    try:
        kubectl("wait", *READY)
        yield Endpoint.of(ORGANIZATION)
    finally:
        kubectl("delete", "-f", str(EXAMPLE), "--ignore-not-found", PATIENTLY)


@pytest.fixture
async def pods(kubectl: Kubectl, shared: Endpoint) -> list[RuntimePod]:
    """Both replicas, ready."""
    found: list[RuntimePod] = []

    def both() -> bool:
        found[:] = runtime_pods(kubectl, NAMESPACE, shared.key)
        return len(found) == 2

    await settled(both, "both replicas are ready")
    return found


@pytest.mark.usefixtures("pods")
def test_replicas_on_shared_stores_have_no_volume(kubectl: Kubectl) -> None:
    assert not kubectl.exists("persistentvolumeclaim", "-n", NAMESPACE)


def test_a_session_goes_on_at_whichever_replica_is_asked(pods: list[RuntimePod]) -> None:
    one, other = pods
    session = one.say("first")["session_id"]
    assert other.say("second", session)["session_id"] == session
    assert one.say("third", session)["session_id"] == session
    assert one.heard(session) == other.heard(session) == ["first", "second", "third"]


async def test_a_session_has_one_turn_at_a_time_over_both_replicas(pods: list[RuntimePod]) -> None:
    one, other = pods
    session = one.say("begin")["session_id"]
    messages = [f"message {number}" for number in range(12)]
    answers = await asyncio.gather(
        *(
            (one if number % 2 else other).says(message, session)
            for number, message in enumerate(messages)
        )
    )
    assert {status for status, _ in answers} <= {200, 409}
    through = {
        message for message, (status, _) in zip(messages, answers, strict=True) if status == 200
    }
    assert through
    heard = one.heard(session)
    assert heard[0] == "begin"
    assert sorted(heard[1:]) == sorted(through)
    status, page = other.call(f"/v1/sessions/{session}/messages?limit=200")
    assert status == 200
    # Turns that ran beside each other would have left their messages in between.
    assert [one["role"] for one in page["data"]] == ["user", "assistant"] * len(heard)


async def test_a_session_outlives_the_replica_that_began_it(
    kubectl: Kubectl, shared: Endpoint, pods: list[RuntimePod]
) -> None:
    dying, staying = pods
    session = dying.say("before the end")["session_id"]
    kubectl("delete", "pod", dying.name, "-n", NAMESPACE, "--grace-period=0", "--force")
    staying.say("after it", session)

    def replaced() -> bool:
        names = {pod.name for pod in runtime_pods(kubectl, NAMESPACE, shared.key)}
        return len(names) == 2 and dying.name not in names

    await settled(replaced, "a new replica is ready")
    (new,) = [
        pod for pod in runtime_pods(kubectl, NAMESPACE, shared.key) if pod.name != staying.name
    ]
    new.say("at the new one", session)
    assert new.heard(session) == ["before the end", "after it", "at the new one"]


def test_an_organizations_user_of_redis_reaches_its_own_keys_only(
    kubectl: Kubectl, shared: Endpoint
) -> None:
    url = secret(kubectl, "cache", "url").replace(f"redis.{STORES}.svc", "127.0.0.1")

    def asks(*command: str) -> str:
        line = ("redis-cli", "--no-auth-warning", "-u", url, *command)
        return kubectl("exec", "-n", STORES, "deployment/redis", "--", *line)

    assert asks("SET", f"bulkhead:{ORGANIZATION}:mine", "1").strip() == "OK"
    for refused in (
        ("GET", "bulkhead:acme:theirs"),
        ("PUBLISH", "bulkhead:acme:theirs", "x"),
        ("SCAN", "0"),
        ("FLUSHALL",),
        ("CLIENT", "KILL", "TYPE", "normal"),
        ("SCRIPT", "FLUSH"),
        ("CONFIG", "GET", "*"),
    ):
        assert "NOPERM" in asks(*refused), refused


def test_an_organizations_role_in_postgres_sees_its_own_rows_only(
    kubectl: Kubectl, shared: Endpoint, pods: list[RuntimePod]
) -> None:
    pods[0].say("mine")
    dsn = secret(kubectl, "database", "dsn").replace(f"postgres.{STORES}.svc", "127.0.0.1")

    def answers(statement: str) -> str:
        line = ("psql", "--no-psqlrc", "--tuples-only", "--no-align", dsn, "-c", statement)
        return kubectl("exec", "-n", STORES, "deployment/postgres", "--", *line).strip()

    assert answers("SELECT DISTINCT organization FROM bulkhead.sessions") == ORGANIZATION
    for refused in (
        "SELECT rolpassword FROM pg_authid",
        f"INSERT INTO bulkhead.tenants VALUES ('bulkhead_{ORGANIZATION}', 'acme')",
        "ALTER TABLE bulkhead.sessions DISABLE ROW LEVEL SECURITY",
        "CREATE ROLE another",
        "SET ROLE bulkhead_owner",
    ):
        with pytest.raises(KubectlError, match=r"permission denied|must be owner"):
            answers(refused)


def secret(kubectl: Kubectl, name: str, field: str) -> str:
    """Return a field of a Secret of the organization."""
    template = f'go-template={{{{index .data "{field}" | base64decode}}}}'
    return kubectl("get", "secret", name, "-n", NAMESPACE, "-o", template)


async def test_a_redis_that_ends_costs_nothing_that_was_said(
    kubectl: Kubectl, pods: list[RuntimePod]
) -> None:
    one, other = pods
    session = one.say("with a cache")["session_id"]
    before = restarts(kubectl)
    # The first process of its pod: the container ends with it and is started again.
    kubectl("exec", "-n", STORES, "deployment/redis", "--", "sh", "-c", "kill -TERM 1")
    other.say("without one", session)
    await settled(lambda: restarts(kubectl) > before, "Redis was started again")
    kubectl("rollout", "status", "deployment/redis", "-n", STORES, "--timeout=120s")
    one.say("with a new one", session)
    assert other.heard(session) == ["with a cache", "without one", "with a new one"]


def restarts(kubectl: Kubectl) -> int:
    """Return how often Redis was started again."""
    pods = kubectl.get("pods", "-n", STORES, "-l", "app.kubernetes.io/name=redis")["items"]
    return sum(pod["status"]["containerStatuses"][0]["restartCount"] for pod in pods)
