"""How often a runtime switches until a version has all new sessions.

Each switch is a pass of a kubelet, which looks at a pod's files at most about once a second.
"""

from collections.abc import Iterator
from itertools import groupby

import pytest

from bulkhead_api.runtime_config import RuntimeConfig
from tests.integration.reconcile.bad_packages import ELSEWHERE, version
from tests.integration.reconcile.conftest import World, organization
from tests.integration.reconcile.test_reconcile_rollouts import asks_for, in_service
from tests.support.api_observer import Object, path_of
from tests.support.deadline import until

LOADED_FIRST = [
    {"1.0.0": 100},
    {"1.0.0": 100, "2.0.0": 0},
    {"1.0.0": 0, "2.0.0": 100},
    {"2.0.0": 100},
]
AT_ONCE = [shares for shares in LOADED_FIRST if shares.get("2.0.0") != 0]


def switches(world: World, name: str) -> list[list[dict[str, int]]]:
    """Return the shares of `support` that each replica followed, one after the other."""
    return [
        [shares for shares, _ in groupby(_shares(pod.followed)) if any(shares.values())]
        for pod in world.runtime.pods.values()
        if pod.namespace == f"org-{name}"
    ]


def _shares(followed: list[RuntimeConfig]) -> Iterator[dict[str, int]]:
    for config in followed:
        for route in config.routes:
            yield {one.version: one.weight for one in route.versions}


async def until_switched(world: World, name: str, wanted: list[list[dict[str, int]]]) -> None:
    async def right() -> bool:
        return switches(world, name) == wanted

    try:
        await until(right, f"{name} switched as wanted")
    except AssertionError as error:
        raise AssertionError(f"{error}: {switches(world, name)}") from None


@pytest.mark.parametrize(
    ("name", "spec", "wanted"),
    [
        pytest.param("inline", {}, AT_ONCE, id="content that comes with the configuration"),
        pytest.param("fetched", ELSEWHERE, LOADED_FIRST, id="content that has to be fetched"),
    ],
)
async def test_one_replica_takes_a_version_into_service_with_what_it_loads(
    operated: World, name: str, spec: Object, wanted: list[dict[str, int]]
) -> None:
    await in_service(operated, name)
    second = version(name, "2.0.0", **spec)
    await asks_for(operated, second)
    await operated.ready(second, status="True", message="2.0.0")
    await until_switched(operated, name, [wanted])


async def test_of_two_replicas_none_gives_sessions_to_what_the_other_may_not_have(
    operated: World,
) -> None:
    shared = {"postgres": {"secretRef": {"name": "database"}}}
    await operated.organization("pair", replicas=2, storage=shared)
    await operated.reported("pair", reason="CredentialsMissing")
    secret = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "database"},
        "stringData": {"dsn": "postgresql://pair:secret@db/bulkhead"},
    }
    await operated.api.expect("POST", "/api/v1/namespaces/org-pair/secrets", secret)

    async def both_run() -> bool:
        await operated.runtime.run_pods("org-pair")
        return len(switches(operated, "pair")) == 2

    await until(both_run, "two pods run")
    await operated.ready(organization("pair"), status="True")
    first, second = version("pair", "1.0.0"), version("pair", "2.0.0")
    await operated.api.create(first)
    await operated.ready(first, status="True")
    await asks_for(operated, second)
    await operated.ready(second, status="True", message="2.0.0")
    await until_switched(operated, "pair", [LOADED_FIRST, LOADED_FIRST])


async def test_while_pods_are_replaced_a_version_is_loaded_everywhere_before_it_serves(
    operated: World,
) -> None:
    await in_service(operated, "renewed")
    handbook = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "handbook"}}
    await operated.api.expect("POST", "/api/v1/namespaces/org-renewed/configmaps", handbook)
    mounted = {"spec": {"tools": {"documents": {"configMaps": ["handbook"]}}}}
    await operated.api.merge(path_of(organization("renewed")), mounted)

    async def surged() -> bool:
        return len(await operated.api.items("/api/v1/namespaces/org-renewed/pods")) == 2

    await until(surged, "a second pod is there")
    second = version("renewed", "2.0.0")
    await asks_for(operated, second)
    await operated.ready(second, status="True", message="2.0.0")
    await until_switched(operated, "renewed", [LOADED_FIRST])
