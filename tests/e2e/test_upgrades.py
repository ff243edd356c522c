"""New versions of agents, limits and runtimes arrive while tenants keep talking."""

import asyncio
import json

import pytest

from tests.e2e.conftest import Organizations
from tests.support.cluster import Endpoint, Kubectl, package, ready, settled
from tests.support.deadline import until
from tests.support.load import talking

NAME, NAMESPACE = "intertrode", "org-intertrode"


@pytest.fixture(scope="module")
def intertrode(lasting: Organizations) -> Endpoint:
    """An organization of this file."""
    return lasting.make(NAME)


async def test_a_new_version_takes_new_sessions_and_leaves_running_ones(
    kubectl: Kubectl, intertrode: Endpoint
) -> None:
    before = await intertrode.execute("Hello.")
    assert before["version"] == "1.0.0"
    async with talking(intertrode) as talk:
        await settled(lambda: talk.answered > 20, "tenants are talking")
        kubectl.apply(package(NAMESPACE, "2.0.0"))
        await settled(lambda: "2.0.0" in talk.versions, "a new session gets version 2.0.0")
        await asyncio.to_thread(ready, kubectl, NAME, NAMESPACE, "2.0.0")
    assert talk.failures == []
    switched = talk.versions.index("2.0.0")
    assert set(talk.versions[:switched]) == {"1.0.0"}
    pinned = await intertrode.execute("Who am I talking to?", session_id=before["session_id"])
    assert pinned["version"] == "1.0.0"
    assert (await intertrode.execute("And I?"))["version"] == "2.0.0"


async def test_a_rolling_update_drops_no_request_and_cuts_no_stream(
    kubectl: Kubectl, intertrode: Endpoint
) -> None:
    more_memory = {"spec": {"limits": {"maxMemoryMB": 640}}}
    async with talking(intertrode) as kept, talking(intertrode, keep_alive=False) as new:
        await settled(lambda: kept.answered > 20 and new.answered > 20, "tenants are talking")
        before = _pod(kubectl)
        kubectl("patch", "orgrt", NAME, "--type=merge", "-p", json.dumps(more_memory))
        await settled(lambda: _pod(kubectl) not in ("", before), "another pod serves")
        await kubectl.meanwhile(
            "wait", "--for=condition=Ready", "orgrt/intertrode", "--timeout=120s"
        )
        answered = kept.answered
        await settled(lambda: kept.answered > answered + 20, "tenants talk to the new pod")
    assert kept.failures == []
    assert new.failures == []
    assert kept.streamed > 0


def _pod(kubectl: Kubectl) -> str:
    """Return the name of the one pod that is there and not leaving; empty while it changes."""
    pods = [
        pod["metadata"]["name"]
        for pod in kubectl.get("pods", "-n", NAMESPACE)["items"]
        if "deletionTimestamp" not in pod["metadata"]
    ]
    return pods[0] if len(pods) == 1 else ""


async def test_a_limit_changes_without_a_restart(kubectl: Kubectl, intertrode: Endpoint) -> None:
    before = _pod(kubectl)
    short = {"spec": {"limits": {"maxInputCharacters": 5}}}
    kubectl("patch", "orgrt", NAME, "--type=merge", "-p", json.dumps(short))

    async def refused() -> bool:
        async with (
            intertrode.session() as client,
            client.post(
                "/v1/agents/assistant/execute", json={"message": "far too long"}
            ) as response,
        ):
            return response.status != 200 and "maxInputCharacters" in await response.text()

    await until(refused, "the new limit holds")
    assert _pod(kubectl) == before
