"""An organization in whose life everything happens that dashboards and alerts look at.

Its provider works, refuses, breaks off and goes away; tools are denied, budgets run out, the queue
is too short, one version shifts and another is taken back. Beside it are an organization and a
package that wait for a person.
"""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import aiohttp

from tests.cluster.kubectl import Kubectl as ClusterKubectl
from tests.performance.rows.stub_in_cluster import Provider, provider
from tests.support.cluster import PATIENTLY, Endpoint, Kubectl, organization, package, ready
from tests.support.deadline import until

NAME: Final = "vandelay"
NAMESPACE: Final = f"org-{NAME}"
STUCK: Final = "kramerica"
_AGENTS: Final[dict[str, dict[str, Any]]] = {
    "assistant": {"model": "stub/words"},
    "calculator": {"model": "stub/tools", "tools": ["calculate"]},
    "cached": {"model": "stub/words", "cacheSeconds": 600},
    "failing": {"model": "stub/cut"},
    "fallen": {"model": "broken/error"},
    "slow": {"model": "stub/slow;delay_ms=400"},
    "sluggish": {"model": "stub/slow;delay_ms=6000"},
    "forgetful": {"model": "stub/words;chunks=40"},
}
_TOOL_RULES: Final = [
    {"name": "no-clock", "effect": "Deny", "match": ["current_time"]},
    {"name": "arithmetic", "effect": "Allow", "match": ["calculate"]},
]
_PRICED: Final = {
    **{agent["model"]: 128_000 for agent in _AGENTS.values()},
    "stub/words;chunks=40": 1024,
}


def _manifest(stub: Provider) -> dict[str, Any]:
    broken = {"failures": 3, "openSeconds": 5}
    found = organization(
        NAME,
        namespace=NAMESPACE,
        models={
            "default": "stub/words",
            "providers": [
                {**stub.as_spec(), "maxRetries": 0},
                {**stub.as_spec(), "name": "broken", "maxRetries": 0, "circuitBreaker": broken},
            ],
            "fallbacks": ["stub/words"],
            "prices": [
                {
                    "model": model,
                    "inputPerMillion": "150",
                    "outputPerMillion": "600",
                    "contextWindow": window,
                }
                for model, window in _PRICED.items()
            ],
        },
        budgets={
            "session": {"turns": 12},
            "day": {"cost": "1000", "tokens": 100_000_000},
            "total": {"cost": "100000"},
            "steps": [{"percent": 50, "action": "Warn"}],
        },
        tools={"policy": {"rules": _TOOL_RULES}},
        sessions={"compaction": {"turns": 2}},
        authentication={"apiKeys": [_expiring_key()]},
        network={"egress": [stub.as_egress()]},
    )
    found["spec"]["limits"] |= {"maxConcurrentAgents": 3, "maxQueueSize": 4}
    return found


def _namespace() -> dict[str, Any]:
    metadata = {"name": NAMESPACE, "annotations": {"bulkhead.dev/organization": NAME}}
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": metadata}


def _expiring_key() -> dict[str, Any]:
    return {
        "name": "expiring",
        "secretRef": {"name": "expiring"},
        "scopes": ["sessions:read"],
        "expiresAt": (datetime.now(UTC) + timedelta(days=3)).strftime("%Y-%m-%dT%H:%M:%SZ"),
    }


def _secret_of_key() -> dict[str, Any]:
    digest = hashlib.sha256(b"a key that nobody uses").hexdigest()
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "expiring", "namespace": NAMESPACE},
        "stringData": {"token": f"sha256:{digest}"},
    }


def _package(version: str, **spec: object) -> dict[str, Any]:
    found = package(NAMESPACE, version)
    instructions = f"You help people of {NAME}, version {version}."
    found["spec"] |= {
        "agents": [
            {"name": name, "instructions": instructions, **agent} for name, agent in _AGENTS.items()
        ],
        **spec,
    }
    return found


@contextmanager
def established(kubectl: Kubectl, on_cluster: ClusterKubectl) -> Iterator[Endpoint]:
    """Make the organization, its provider and what is stuck; take everything away at the end."""
    with ExitStack() as stack:
        stub = stack.enter_context(provider(on_cluster))
        for name in (NAME, STUCK):
            stack.callback(_remove, kubectl, name)
        kubectl("create", "namespace", STUCK)
        kubectl.apply(_namespace(), _secret_of_key())
        kubectl.apply(_manifest(stub), organization(STUCK, namespace=STUCK))
        kubectl.apply(_package("1.0.0"), _unmet())
        ready(kubectl, NAME, NAMESPACE, "1.0.0")
        endpoint = Endpoint.of(NAME)
        asyncio.run(until(endpoint.answers, f"{endpoint.url} is routed"))
        yield endpoint


def _remove(kubectl: Kubectl, name: str) -> None:
    kubectl("delete", "orgrt", name, "--ignore-not-found", PATIENTLY)
    for namespace in (f"org-{name}", name):
        kubectl("delete", "namespace", namespace, "--ignore-not-found", PATIENTLY)


def _unmet() -> dict[str, Any]:
    found = package(NAMESPACE)
    found["metadata"]["name"] = "unmet"
    found["spec"]["agents"][0]["name"] = "lonely"
    found["spec"]["dependencies"] = [{"type": "Integration", "name": "nobody-has-it"}]
    return found


async def roll_out(kubectl: Kubectl) -> None:
    """Let one version shift step by step, and have the next one taken back."""
    step = {"weight": 50, "pauseSeconds": 4}
    kubectl.apply(_package("1.1.0", rollout={"strategy": "Canary", "steps": [step]}))
    await asyncio.to_thread(ready, kubectl, NAME, NAMESPACE, "1.1.0")
    check = {
        "name": "speaks",
        "prompt": {"agent": "sluggish", "message": "Hello?", "contains": ["never said"]},
        "attempts": 1,
    }
    kubectl.apply(_package("1.2.0", healthChecks=[check]))
    taken_back = "--for=jsonpath={.status.rollout.phase}=Restored"
    of_package = ("agpkg/assistant", "-n", NAMESPACE, "--timeout=120s")
    await kubectl.meanwhile("wait", taken_back, *of_package)


@asynccontextmanager
async def talking(endpoint: Endpoint) -> AsyncIterator[None]:
    """Let tenants talk, well and badly, until the block ends."""
    async with endpoint.session() as session, asyncio.TaskGroup() as group:
        tenants = [group.create_task(_again(one, session)) for one in _TENANTS]
        yield
        for tenant in tenants:
            tenant.cancel()


async def _again(
    tenant: Callable[[aiohttp.ClientSession], Awaitable[None]], session: aiohttp.ClientSession
) -> None:
    while True:
        await tenant(session)


async def _post(
    session: aiohttp.ClientSession, path: str, body: dict[str, Any], **headers: str
) -> dict[str, Any]:
    """Return the answer, whatever its status: half of the tenants are refused on purpose."""
    async with session.post(path, json=body, headers=headers) as response:
        text = await response.read()
        if response.content_type != "application/json":
            return {"status": response.status, "text": text.decode()}
        answer: dict[str, Any] = await response.json()
        return answer


async def _say(
    session: aiohttp.ClientSession, agent: str, message: str = "Hello.", **fields: Any
) -> dict[str, Any]:
    return await _post(session, f"/v1/agents/{agent}/execute", {"message": message, **fields})


async def _chatter(session: aiohttp.ClientSession) -> None:
    """Ask everybody once, streams and tools among them."""
    for agent in ("assistant", "calculator", "cached", "failing", "fallen"):
        await _say(session, agent)
    await _post(session, "/v1/agents/assistant/execute/stream", {"message": "A story, please."})
    await _post(session, "/v1/tools/run", {"tool": "current_time", "arguments": {}})
    await _post(session, "/v1/tools/run", {"tool": "calculate", "arguments": {"expression": "1"}})


async def _crowd(session: aiohttp.ClientSession) -> None:
    """Come all at once: more than have places, and more than may wait."""
    await asyncio.gather(*(_say(session, "slow") for _ in range(9)))
    await asyncio.sleep(1)


async def _long_conversation(session: aiohttp.ClientSession) -> None:
    """Talk in one session until its budget is used up and its older turns are summarized."""
    began = await _say(session, "assistant")
    named = {"session_id": began["session_id"]} if "session_id" in began else {}
    for _ in range(14):
        await _say(session, "assistant", "And then?", **named)


async def _long_messages(session: aiohttp.ClientSession) -> None:
    """Say more than the model's window holds."""
    began = await _say(session, "forgetful", "tell " * 200)
    named = {"session_id": began["session_id"]} if "session_id" in began else {}
    for _ in range(3):
        await _say(session, "forgetful", "more " * 200, **named)


async def _careful_client(session: aiohttp.ClientSession) -> None:
    """Repeat requests under one key, and ask for keys that expire."""
    again = f"again-{asyncio.get_running_loop().time()}"
    for _ in range(2):
        await _post(
            session,
            "/v1/agents/assistant/execute",
            {"message": "Once."},
            **{"Idempotency-Key": again},
        )
    expires = (datetime.now(UTC) + timedelta(days=3)).isoformat()
    key = {"name": "short-lived", "scopes": ["agents:run"], "expires_at": expires}
    await _post(session, "/v1/api-keys", key)
    await asyncio.sleep(0.5)


_TENANTS: Final = (_chatter, _crowd, _long_conversation, _long_messages, _careful_client)
