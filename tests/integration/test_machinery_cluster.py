"""Reads, writes and watches against a real API server."""

from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass

import pytest

from bulkhead_api.names import API_VERSION, FINALIZER, LABEL_ORGANIZATION
from bulkhead_operator.cluster.client import MERGE_PATCH, ApiClient, unfenced
from bulkhead_operator.cluster.kinds import KINDS
from bulkhead_operator.cluster.port import Manifest, ObjectKey
from bulkhead_operator.cluster.versions import versions_of
from bulkhead_operator.cluster.watch import KindWatch
from bulkhead_operator.errors import Gone, LeaseLost, NotOurs, Refused
from tests.cluster.control_plane import ControlPlane
from tests.support import api_server
from tests.support.api_server import Wiring, configmap, running
from tests.support.deadline import until

CONFIGMAP = next(kind for kind in KINDS if kind.name == "ConfigMap")
CONFIGMAPS = "/api/v1/namespaces/default/configmaps"
RUNTIMES = f"/apis/{API_VERSION}/organizationruntimes"


@pytest.fixture(scope="module")
def control_plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    with ControlPlane(tmp_path_factory.mktemp("machinery")) as control_plane:
        yield control_plane


@pytest.fixture(scope="module")
def crds(control_plane: ControlPlane) -> list[str]:
    return []


@pytest.fixture
async def client(control_plane: ControlPlane, crds: list[str]) -> AsyncIterator[ApiClient]:
    async with api_server.connected(control_plane.kubeconfig) as client:
        if not crds:
            await api_server.install_crds(client)
            crds.append("installed")
        yield client


@pytest.fixture
def wiring(client: ApiClient) -> Wiring:
    return Wiring(client)


@dataclass
class Watched:
    wiring: Wiring
    watch: KindWatch


@pytest.fixture
async def watched(wiring: Wiring) -> AsyncIterator[Watched]:
    watch = KindWatch(wiring.client, CONFIGMAP, wiring.children)
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(running(watch.run()))
        await watch.synced.wait()
        yield Watched(wiring, watch)


async def _organization(client: ApiClient, name: str) -> tuple[ObjectKey, str]:
    made = await api_server.post(client, api_server.organization(name), RUNTIMES)
    return ObjectKey(API_VERSION, "OrganizationRuntime", None, name), made["metadata"]["uid"]


async def test_an_applied_object_holds_what_was_wanted_and_nulls_are_left_out(
    wiring: Wiring,
) -> None:
    wanted = configmap("applied")
    wanted["metadata"]["annotations"] = {"a": "b", "none": None}
    child = await wiring.cluster.apply(wanted, "drift")
    live = await wiring.cluster.get(child.key)
    assert live is not None
    assert live["data"] == {"key": "value"}
    assert live["metadata"]["annotations"] == {"a": "b"}


async def test_an_object_that_we_never_applied_is_refused_and_left_alone(
    wiring: Wiring,
) -> None:
    await api_server.post(wiring.client, configmap("foreign", None), CONFIGMAPS)
    with pytest.raises(NotOurs, match="ConfigMap foreign in namespace default"):
        await wiring.cluster.apply(configmap("foreign", key="ours"), "acme")
    live = await wiring.cluster.get(ObjectKey("v1", "ConfigMap", "default", "foreign"))
    assert live is not None
    assert live["data"] == {"key": "value"}


async def test_an_object_with_our_label_but_of_somebody_else_is_refused(watched: Watched) -> None:
    await api_server.post(watched.wiring.client, configmap("forged"), CONFIGMAPS)
    key = ObjectKey("v1", "ConfigMap", "default", "forged")

    async def heard() -> bool:
        return watched.wiring.children.is_ours(key) is False

    await until(heard, "the watch brings the forged object")
    with pytest.raises(NotOurs):
        await watched.wiring.cluster.apply(configmap("forged", key="ours"), "acme")


async def test_the_second_of_two_creates_of_one_name_says_so(wiring: Wiring) -> None:
    made = await wiring.cluster.create(configmap("created"))
    assert made is not None
    assert await wiring.cluster.create(configmap("created")) is None


async def test_a_write_into_a_namespace_that_is_not_there_is_gone(wiring: Wiring) -> None:
    with pytest.raises(Gone):
        await wiring.cluster.apply(configmap("nowhere", namespace="nowhere"), "acme", fresh=True)


async def test_deleting_spares_an_object_with_another_uid_and_accepts_absence(
    wiring: Wiring,
) -> None:
    child = await wiring.cluster.apply(configmap("deleted"), "acme")
    await wiring.cluster.delete(child.key, uid="00000000-0000-0000-0000-000000000000")
    assert await wiring.cluster.get(child.key) is not None
    await wiring.cluster.delete(child.key, uid=child.uid)
    assert await wiring.cluster.get(child.key) is None
    await wiring.cluster.delete(child.key)


async def test_a_lost_lease_stops_every_kind_of_write_before_it_is_sent(wiring: Wiring) -> None:
    def lost() -> None:
        raise LeaseLost("LeaseLost", "another replica leads")

    cluster = wiring.fenced(lost)
    key = ObjectKey("v1", "ConfigMap", "default", "fenced")
    runtime = ObjectKey(API_VERSION, "OrganizationRuntime", None, "fenced")
    for write in (
        cluster.apply(configmap("fenced"), "acme", fresh=True),
        cluster.create(configmap("fenced")),
        cluster.delete(key),
        cluster.patch(key, {"data": {}}),
        cluster.patch_status(runtime, "uid", {}),
        cluster.add_finalizer(runtime, "uid"),
    ):
        with pytest.raises(LeaseLost):
            await write
    assert await wiring.cluster.get(key) is None


async def test_status_is_replaced_whole_and_only_on_the_object_that_was_meant(
    wiring: Wiring,
) -> None:
    key, uid = await _organization(wiring.client, "status")
    await wiring.cluster.patch_status(key, uid, {"observedGeneration": 1, "state": "active"})
    live = await wiring.cluster.patch_status(key, uid, {"observedGeneration": 1})
    assert "state" not in live["status"]
    assert wiring.written[-1]["metadata"]["resourceVersion"] == live["metadata"]["resourceVersion"]
    with pytest.raises(Gone):
        await wiring.cluster.patch_status(key, "another", {"observedGeneration": 1})
    with pytest.raises(Refused, match="nonsense"):
        await wiring.cluster.patch_status(key, uid, {"state": "nonsense"})


async def test_our_finalizer_comes_and_goes_without_touching_others(wiring: Wiring) -> None:
    key, uid = await _organization(wiring.client, "finalized")
    others = {"metadata": {"finalizers": ["example.com/other"]}}
    await wiring.cluster.patch(key, others)
    await wiring.cluster.add_finalizer(key, uid)
    assert await _finalizers(wiring, key) == ["example.com/other", FINALIZER]
    await wiring.cluster.remove_finalizer(key, uid)
    assert await _finalizers(wiring, key) == ["example.com/other"]
    await wiring.cluster.remove_finalizer(key, uid)
    with pytest.raises(Gone):
        await wiring.cluster.add_finalizer(key, "another")
    absent = ObjectKey(API_VERSION, "OrganizationRuntime", None, "absent")
    with pytest.raises(Gone):
        await wiring.cluster.add_finalizer(absent, uid)
    assert await wiring.cluster.get(absent) is None


async def test_our_finalizer_goes_even_when_a_person_wrote_it_too(wiring: Wiring) -> None:
    key, uid = await _organization(wiring.client, "adopted-finalizer")
    await wiring.cluster.add_finalizer(key, uid)
    # A person's tool that sends the whole object becomes an owner of the list's entry.
    await wiring.client.write(
        "PATCH",
        f"{RUNTIMES}/{key.name}",
        {**api_server.organization(key.name), "metadata": {"finalizers": [FINALIZER]}},
        fence=unfenced,
        content_type="application/apply-patch+yaml",
        query={"fieldManager": "person"},
    )
    await wiring.cluster.remove_finalizer(key, uid)
    assert await _finalizers(wiring, key) == []


async def _finalizers(wiring: Wiring, key: ObjectKey) -> list[str]:
    live = await wiring.cluster.get(key)
    assert live is not None
    finalizers: list[str] = live["metadata"].get("finalizers", [])
    return finalizers


async def test_drift_deletion_and_lost_labels_ring_and_our_own_writes_do_not(
    watched: Watched,
) -> None:
    wiring = watched.wiring
    wanted = configmap("drifting", "drift")
    wiring.want("drift", wanted)
    child = await wiring.cluster.apply(wanted, "drift")
    await _caught_up(watched, "marker-one")
    assert "drift" not in wiring.rung

    for marker, change in (
        ("marker-two", {"data": {"key": "drifted"}}),
        ("marker-three", {"metadata": {"labels": {LABEL_ORGANIZATION: None}}}),
    ):
        await _patched(wiring.client, "drifting", change)
        await until(lambda: _rung(wiring, 1), "the change rings")
        await wiring.cluster.apply(wanted, "drift")
        await _caught_up(watched, marker)
        wiring.rung.clear()
    await wiring.client.write("DELETE", f"{CONFIGMAPS}/drifting", {}, fence=unfenced)
    await until(lambda: _rung(wiring, 1), "the deletion rings")
    assert child.key not in wiring.children.of("drift")


async def test_children_listed_at_the_start_are_judged_in_the_first_reconcile(
    wiring: Wiring,
) -> None:
    kept, changed = configmap("kept", "restart"), configmap("changed", "restart")
    await wiring.cluster.apply(kept, "restart")
    await wiring.cluster.apply(changed, "restart")
    after = Wiring(wiring.client)
    watch = KindWatch(after.client, CONFIGMAP, after.children)
    wanted = {
        ObjectKey.of(kept): kept,
        ObjectKey.of(changed): {**changed, "data": {"key": "new"}},
    }
    async with running(watch.run()):
        await watch.synced.wait()
        children = after.cluster.children("restart", wanted)
    assert [children[key].contained for key in wanted] == [True, False]


async def test_lists_come_in_pages_and_only_what_matches(wiring: Wiring) -> None:
    for number in range(120):
        await wiring.cluster.apply(configmap(f"page-{number}", "paged"), "paged", fresh=True)
    found = await wiring.cluster.list("v1", "ConfigMap", "default", f"{LABEL_ORGANIZATION}=paged")
    assert len(found) == 120


async def test_versions_are_listed_without_content(wiring: Wiring) -> None:
    key, _ = await _organization(wiring.client, "versioned")
    versions = await versions_of(wiring.client, API_VERSION, "OrganizationRuntime")
    live = await wiring.cluster.get(key)
    assert live is not None
    assert versions.objects[key] == int(live["metadata"]["resourceVersion"])
    assert versions.at >= versions.objects[key]


async def test_versions_of_more_than_a_page_are_of_one_moment(wiring: Wiring) -> None:
    made = [await _organization(wiring.client, f"many-{number}") for number in range(120)]
    versions = await versions_of(wiring.client, API_VERSION, "OrganizationRuntime")
    assert {key for key, _ in made} <= versions.objects.keys()
    assert max(versions.objects.values()) <= versions.at


async def _patched(client: ApiClient, name: str, change: Manifest) -> None:
    await client.write(
        "PATCH",
        f"{CONFIGMAPS}/{name}",
        change,
        fence=unfenced,
        content_type=MERGE_PATCH,
    )


async def _rung(wiring: Wiring, times: int) -> bool:
    return wiring.rung.count("drift") >= times


async def _caught_up(watched: Watched, marker: str) -> None:
    """Wait until the watch has brought a later write, so that what comes before was heard."""
    made = await api_server.post(watched.wiring.client, configmap(marker, "marker"), CONFIGMAPS)
    key = CONFIGMAP.key(made)

    async def heard() -> bool:
        return key in watched.wiring.children.of("marker")

    await until(heard, "the watch catches up")
    await watched.wiring.client.write("DELETE", f"{CONFIGMAPS}/{marker}", {}, fence=unfenced)
