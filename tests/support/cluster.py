"""A person's tools on the local cluster: kubectl, an endpoint, a key."""

import asyncio
import json
import os
import subprocess
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp

from tests.support.deadline import until

ROOT = Path(__file__).parents[2]
PATIENTLY = "--timeout=300s"
"""For deletions: a namespace whose pods take over five seconds to end is looked at again only after
half of their grace, which is the longest execution."""


def cluster_tool(*arguments: str) -> str:
    """Run the tool behind the make verbs; returns what it prints."""
    command = [".venv/bin/python", "-m", "tests.cluster", *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{' '.join(command)}: {done.stderr}"
    return done.stdout.strip()


class KubectlError(Exception):
    """kubectl ended with an error; `text` is what it told the person."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text


class Kubectl:
    """kubectl with the local cluster's kubeconfig."""

    def __init__(self) -> None:
        self.kubeconfig = cluster_tool("kubeconfig")
        self._program = cluster_tool("binaries", "--path", "kubectl")

    def __call__(self, *arguments: str, stdin: str | None = None) -> str:
        done = subprocess.run(
            [self._program, *arguments],
            input=stdin,
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, "KUBECONFIG": self.kubeconfig},
        )
        if done.returncode != 0:
            raise KubectlError(done.stderr.strip())
        return done.stdout

    async def meanwhile(self, *arguments: str) -> str:
        """Run kubectl while other tasks of the test go on."""
        return await asyncio.to_thread(self, *arguments)

    def apply(self, *manifests: dict[str, Any]) -> str:
        return self("apply", "-f", "-", stdin="\n".join(json.dumps(each) for each in manifests))

    def apply_as(self, manager: str, namespace: str, *manifests: dict[str, Any]) -> None:
        """Apply all that a manager has in a namespace, server-side; what it left out goes.

        No conflict is forced. Needs KUBECTL_APPLYSET=true in the environment.
        """
        self(
            *("apply", "--server-side", f"--field-manager={manager}", f"--namespace={namespace}"),
            *("--prune", f"--applyset=configmap/{manager}", "-f", "-"),
            stdin="\n".join(json.dumps(each) for each in manifests),
        )

    def get(self, *arguments: str) -> dict[str, Any]:
        """Return what is there; nothing where that is allowed by `--ignore-not-found`."""
        found: dict[str, Any] = json.loads(self("get", *arguments, "-o", "json") or "{}")
        return found

    def exists(self, *arguments: str) -> bool:
        return bool(self("get", *arguments, "--ignore-not-found", "-o", "name").strip())


@dataclass(frozen=True)
class Endpoint:
    """One organization's endpoint and key, as `make url` and `make key` print them."""

    url: str
    key: str

    @classmethod
    def of(cls, organization: str) -> "Endpoint":
        return cls(cluster_tool("url", organization), cluster_tool("key", organization))

    @asynccontextmanager
    async def session(self, key: str | None = None) -> AsyncIterator[aiohttp.ClientSession]:
        headers = {"Authorization": f"Bearer {self.key if key is None else key}"}
        timeout = aiohttp.ClientTimeout(total=30)
        async with aiohttp.ClientSession(self.url, headers=headers, timeout=timeout) as session:
            yield session

    async def answers(self) -> bool:
        """Tell whether the address leads to a runtime."""
        timeout = aiohttp.ClientTimeout(total=2)
        try:
            async with (
                aiohttp.ClientSession(timeout=timeout) as session,
                session.get(f"{self.url}/health") as response,
            ):
                return response.status == 200 and (await response.json())["status"] == "ok"
        except (aiohttp.ClientError, TimeoutError):
            return False

    async def execute(self, message: str, **fields: object) -> dict[str, Any]:
        """Say `message` to the agent `assistant` and return its answer."""
        async with (
            self.session() as session,
            session.post(
                "/v1/agents/assistant/execute", json={"message": message, **fields}
            ) as response,
        ):
            answer: dict[str, Any] = await response.json()
            assert response.status == 200, answer
            return answer


def organization(name: str, **spec: object) -> dict[str, Any]:
    """Return the manifest of an OrganizationRuntime small enough for a shared node.

    Tests talk faster than people: the rate limits would hide what they look for.
    """
    limits = {
        "requests": {"cpuMillicores": 50, "memoryMB": 96},
        "rateLimitPerMinute": 1_000_000,
        "sessionCreationsPerMinute": 1_000_000,
    }
    return {
        "apiVersion": "bulkhead.dev/v1alpha1",
        "kind": "OrganizationRuntime",
        "metadata": {"name": name},
        "spec": {"limits": limits, **spec},
    }


def package(namespace: str, version: str = "1.0.0", **agent: object) -> dict[str, Any]:
    """Return the manifest of an AgentPackage with one agent, `assistant`."""
    instructions = f"You are the assistant of {namespace}, version {version}."
    return {
        "apiVersion": "bulkhead.dev/v1alpha1",
        "kind": "AgentPackage",
        "metadata": {"name": "assistant", "namespace": namespace},
        "spec": {
            "version": version,
            "agents": [{"name": "assistant", "instructions": instructions, **agent}],
        },
    }


def ready(kubectl: Kubectl, name: str, namespace: str, version: str) -> None:
    """Wait until the organization and that version of its package answer."""
    kubectl("wait", "--for=condition=Ready", f"orgrt/{name}", "--timeout=120s")
    of_package = ("-n", namespace, "agpkg/assistant", "--timeout=120s")
    kubectl("wait", f"--for=jsonpath={{.status.version}}={version}", *of_package)
    kubectl("wait", "--for=condition=Ready", *of_package)


async def settled(condition: Callable[[], object], what: str, seconds: float = 120) -> None:
    """Poll a condition of the cluster until it holds; fails with `what` after the deadline."""
    await until(lambda: asyncio.to_thread(condition), what, seconds)
