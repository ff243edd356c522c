"""A control plane with controllers, a stand-in for kubelet and runtime, and the operator."""

import asyncio
import json
import os
from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from bulkhead_operator.settings import Settings
from tests.cluster.control_plane import ControlPlane
from tests.support.api_observer import OURS, Object, Observer, observing, path_of
from tests.support.deadline import until
from tests.support.running_operator import RunningOperator, running
from tests.support.stub_runtime import StubRuntime
from tests.support.told_faults import told_faults

SETTINGS = Settings(usage_seconds=5, resync_seconds=10, identity="test")
READS = {"get", "list", "watch"}


@dataclass(frozen=True)
class Names:
    """Names of organizations, each for one test.

    Their namespaces outlive them, and which tests share an API server changes from run to run.
    """

    directory: Path
    test: str

    def take(self, name: str) -> None:
        """Note that the test uses a name; fails where another one does."""
        holder = self.directory / name
        try:
            with holder.open("x") as file:
                file.write(self.test)
        except FileExistsError:
            owner = holder.read_text()
            assert owner == self.test, f"the name {name} is used by {owner}: choose another"


@dataclass
class Audited:
    """The operator's writes in the audit log of an API server that many tests use.

    Each look goes on where the last one ended: a log of minutes takes seconds to read, in which
    the operator, on the same event loop, would stand still.
    """

    log: Path
    _made: list[str] = field(default_factory=list)
    _read: int = 0

    def writes(self) -> list[str]:
        """Return every write so far: verb and path, Leases and Events apart."""
        with self.log.open("rb") as lines:
            lines.seek(self._read)
            for line in lines:
                if not line.endswith(b"\n"):
                    break  # still being written
                self._read += len(line)
                self._note(json.loads(line))
        return list(self._made)

    def _note(self, entry: Object) -> None:
        uri = entry["requestURI"].partition("?")[0]
        ours = entry.get("userAgent", "").startswith(("bulkhead-operator", "kopf"))
        apart = "/leases" in uri or "/events" in uri
        if ours and entry["verb"] not in READS and not apart:
            self._made.append(f"{entry['verb']} {uri}")


@dataclass
class World:
    """Everything that a test talks to."""

    control_plane: ControlPlane
    audited: Audited
    api: Observer
    runtime: StubRuntime
    names: Names

    def operator(self, **settings: Any) -> AbstractAsyncContextManager[RunningOperator]:
        """Return the operator, not running yet."""
        chosen = SETTINGS.model_copy(update=settings)
        return running(self.control_plane.kubeconfig, chosen, runtime_port=self.runtime.port)

    async def organization(self, name: str, **spec: Any) -> Object:
        """Create an OrganizationRuntime."""
        self.names.take(name)
        return await self.api.create(organization(name, **spec))

    async def read(self, name: str) -> Object:
        """Return an OrganizationRuntime."""
        found = await self.api.get(f"{OURS}/organizationruntimes/{name}")
        assert found is not None
        return found

    async def reported(self, name: str, **wanted: str) -> Object:
        """Return the organization once Ready's status, reason or message is as wanted."""
        return await self.ready(organization(name), seconds=120, **wanted)

    async def ready(self, manifest: Object, *, seconds: float = 120, **wanted: str) -> Object:
        """Return one of our objects once Ready is as wanted for the present generation."""
        found: list[Object] = []

        async def holds() -> bool:
            live = await self.api.get(path_of(manifest))
            assert live is not None
            found[:] = [live]
            condition = condition_of(live, "Ready")
            current = live["status"]["observedGeneration"] == live["metadata"]["generation"]
            return current and all(
                value in condition.get(name, "")
                if name == "message"
                else condition.get(name) == value
                for name, value in wanted.items()
            )

        try:
            await until(holds, f"{path_of(manifest)} is {wanted}", seconds=seconds)
        except AssertionError as error:
            raise AssertionError(f"{error}: {json.dumps(found[0]['status'])}") from None
        return found[0]

    async def active(self, name: str, **spec: Any) -> Object:
        """Create an organization, run its pod and wait until it is ready."""
        await self.organization(name, **spec)
        await self.reported(name, reason="WaitingForPods")
        await self.run_pods(spec.get("namespace", f"org-{name}"))
        return await self.reported(name, status="True")

    async def run_pods(self, namespace: str) -> None:
        """Wait for a pod that does not run yet, and run it."""

        async def started() -> bool:
            return bool(await self.runtime.run_pods(namespace))

        await until(started, f"a new pod in {namespace}")

    async def gone(self, path: str) -> None:
        """Wait until an object is not there any more."""

        async def absent() -> bool:
            return await self.api.get(path) is None

        await until(absent, f"{path} is gone")

    async def there(self, path: str) -> Object:
        """Wait for an object and return it."""
        found: list[Object] = []

        async def present() -> bool:
            live = await self.api.get(path)
            found[:] = [live] if live is not None else []
            return bool(found)

        await until(present, f"{path} is there")
        return found[0]

    async def quiet(self, name: str) -> int:
        """Wait until all is said of an organization; return how many writes the operator made.

        How full its pool is becomes known some seconds later than the rest.
        """
        pool = {"kind": "MemoryPool", "metadata": {"name": "default", "namespace": f"org-{name}"}}
        await self.ready(pool, status="True")
        loop = asyncio.get_running_loop()
        made, asked, since = len(self.writes()), self.runtime.asked, loop.time()

        async def still() -> bool:
            nonlocal made, asked, since
            if (now := len(self.writes())) != made:
                made, asked, since = now, self.runtime.asked, loop.time()
            return bool(self.runtime.asked > asked and loop.time() - since >= 1)

        await until(still, "the operator looked again and wrote nothing for a second")
        return made

    def written(self, name: str, since: int) -> list[str]:
        """Return the writes after the first `since` ones that are about an organization.

        What the operator does about those that other tests left behind is theirs.
        """
        about = {name, f"org-{name}"}
        return [write for write in self.writes()[since:] if about & set(write.split("/"))]

    def writes(self) -> list[str]:
        """Return every write that the operator made so far: verb and path, Leases apart."""
        return self.audited.writes()

    async def clean(self) -> None:
        """Take away what a test left, so that the next one meets none of it."""
        for body in await self.api.items(f"{OURS}/organizationruntimes"):
            path = path_of(organization(body["metadata"]["name"]))
            await self.api.call("DELETE", path)
            await self.api.call(
                "PATCH", path, {"metadata": {"finalizers": None}}, "application/merge-patch+json"
            )


def organization(name: str, **spec: Any) -> Object:
    """Return an OrganizationRuntime to create."""
    return {
        "apiVersion": "bulkhead.dev/v1alpha1",
        "kind": "OrganizationRuntime",
        "metadata": {"name": name},
        "spec": spec,
    }


def package(namespace: str, name: str, version: str, **agents: dict[str, Any]) -> Object:
    """Return an AgentPackage to create; agents by name."""
    return {
        "apiVersion": "bulkhead.dev/v1alpha1",
        "kind": "AgentPackage",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {
            "version": version,
            "agents": [{"name": agent, **fields} for agent, fields in agents.items()],
        },
    }


def condition_of(live: Object, kind: str) -> dict[str, str]:
    """Return a condition, empty when there is none."""
    conditions = (live.get("status") or {}).get("conditions") or []
    return next((one for one in conditions if one["type"] == kind), {})


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Show what became of every kind of bad package."""
    if rows := told_faults(terminalreporter):
        terminalreporter.section("faults of rollouts")
        for kind, points, end, seconds in [("kind", "deaths", "ends as", "slowest s"), *rows]:
            terminalreporter.line(f"{kind:16} {points:>7} {end:26} {seconds:>9}")


@pytest.fixture(scope="session")
def control_plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    directory: Path = tmp_path_factory.mktemp("reconcile")
    with ControlPlane(directory, controller_manager=True) as plane:
        yield plane


@pytest.fixture(scope="session")
def audited(control_plane: ControlPlane) -> Audited:
    return Audited(control_plane.audit_log)


@pytest.fixture(scope="session")
def installed() -> list[bool]:
    return []


@pytest.fixture
def names(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Names:
    run = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        run = run.parent  # of all processes: which file runs in which is another matter every time
    directory = run / "organizations"
    directory.mkdir(exist_ok=True)
    return Names(directory, request.node.nodeid)


@pytest.fixture
async def world(
    control_plane: ControlPlane, audited: Audited, installed: list[bool], names: Names
) -> AsyncIterator[World]:
    async with observing(control_plane.kubeconfig) as api:
        if not installed:
            await api.install()
            await api.namespace(SETTINGS.namespace)
            installed.append(True)
        runtime = StubRuntime(api)
        await runtime.start()
        made = World(control_plane, audited, api, runtime, names)
        yield made
        await made.clean()
        await runtime.stop()


@pytest.fixture
async def operated(world: World) -> AsyncIterator[World]:
    async with world.operator():
        yield world
