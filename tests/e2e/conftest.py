"""The local cluster as a person finds it after `make up`: acme and globex are there."""

import asyncio
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from tests.support.cluster import (
    PATIENTLY,
    Endpoint,
    Kubectl,
    organization,
    package,
    ready,
)
from tests.support.deadline import until
from tests.support.told_faults import told_faults


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--quiet-seconds",
        type=int,
        default=15,
        help="how long nothing may be written while Git and operator disagree (default: 15)",
    )


@pytest.fixture(scope="session")
def kubectl() -> Kubectl:
    return Kubectl()


@pytest.fixture(scope="session")
def acme() -> Endpoint:
    return Endpoint.of("acme")


@pytest.fixture(scope="session")
def globex() -> Endpoint:
    return Endpoint.of("globex")


class Departures:
    """Takes organizations away while the next tests go on: to end in order takes a while."""

    def __init__(self, kubectl: Kubectl) -> None:
        self._kubectl = kubectl
        self._workers = ThreadPoolExecutor(max_workers=2)
        self._under_way: dict[str, Future[None]] = {}

    def begin(self, name: str) -> None:
        """Delete the organization and whatever its policy leaves."""
        self._under_way[name] = self._workers.submit(self._remove, name)

    def wait(self, *names: str) -> None:
        """Return when these, or all without a name, are gone; raises what went wrong."""
        for name in names or tuple(self._under_way):
            if name in self._under_way:
                self._under_way.pop(name).result()

    def _remove(self, name: str) -> None:
        self._kubectl("delete", "orgrt", name, "--ignore-not-found", PATIENTLY)
        self._kubectl("delete", "namespace", f"org-{name}", "--ignore-not-found", PATIENTLY)


class Organizations:
    """Makes organizations and takes them away at the end."""

    def __init__(self, kubectl: Kubectl, departures: Departures) -> None:
        self._kubectl = kubectl
        self._departures = departures
        self._names: list[str] = []

    def expect(self, name: str) -> None:
        """Take an organization of this name away at the end, whoever makes it."""
        self._departures.wait(name)
        self._names.append(name)

    def empty(self, name: str, **spec: object) -> None:
        """Make an organization without packages; its namespace is there afterwards."""
        self.expect(name)
        self._kubectl.apply(organization(name, **spec))
        self._kubectl("wait", "--for=create", f"namespace/org-{name}", "--timeout=120s")

    def make(self, name: str, version: str = "1.0.0", **spec: object) -> Endpoint:
        """Bring an organization with the agent `assistant` up; returns its endpoint."""
        self.empty(name, **spec)
        self._kubectl.apply(package(f"org-{name}", version))
        ready(self._kubectl, name, f"org-{name}", version)
        endpoint = Endpoint.of(name)
        # A new Service works once kube-proxy has written its rules, a moment after the pods.
        asyncio.run(until(endpoint.answers, f"{endpoint.url} is routed"))
        return endpoint

    def leave(self) -> None:
        """Begin to take all of them away."""
        for name in self._names:
            self._departures.begin(name)


@pytest.fixture(scope="session")
def departures(kubectl: Kubectl) -> Iterator[Departures]:
    departures = Departures(kubectl)
    yield departures
    departures.wait()


@pytest.fixture
def organizations(kubectl: Kubectl, departures: Departures) -> Iterator[Organizations]:
    """Organizations of one test."""
    organizations = Organizations(kubectl, departures)
    yield organizations
    organizations.leave()


@pytest.fixture(scope="module")
def lasting(kubectl: Kubectl, departures: Departures) -> Iterator[Organizations]:
    """Organizations that the tests of a file share."""
    organizations = Organizations(kubectl, departures)
    yield organizations
    organizations.leave()


@pytest.fixture(scope="module")
def initech_of_the_file(lasting: Organizations) -> None:
    lasting.make("initech")


@pytest.fixture
def initech(initech_of_the_file: None) -> Endpoint:
    """An organization of the file's own; earlier tests may have moved its Service or its key."""
    return Endpoint.of("initech")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Show what became of every kind of bad package."""
    if rows := told_faults(terminalreporter):
        terminalreporter.section("bad packages while the leader dies")
        for kind, died, end, seconds in [("kind", "died", "ends as", "seconds"), *rows]:
            terminalreporter.line(f"{kind:26} {died:12} {end:26} {seconds:>8}")
