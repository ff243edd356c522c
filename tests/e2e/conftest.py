"""The local cluster as a person finds it after `make up`: acme and globex are there."""

import asyncio
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from tests.support.cluster import Endpoint, Kubectl, organization, package, ready
from tests.support.deadline import until


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


class Organizations:
    """Makes organizations for one test and takes them away after it."""

    def __init__(self, kubectl: Kubectl, stack: ExitStack) -> None:
        self._kubectl = kubectl
        self._stack = stack

    def empty(self, name: str, **spec: object) -> None:
        """Make an organization without packages; its namespace is there afterwards."""
        self._stack.callback(self.remove, name)
        self._kubectl.apply(organization(name, **spec))
        self._kubectl("wait", "--for=create", f"namespace/org-{name}", "--timeout=30s")

    def make(self, name: str, version: str = "1.0.0", **spec: object) -> Endpoint:
        """Bring an organization with the agent `assistant` up; returns its endpoint."""
        self.empty(name, **spec)
        self._kubectl.apply(package(f"org-{name}", version))
        ready(self._kubectl, name, f"org-{name}", version)
        endpoint = Endpoint.of(name)
        # A new Service works once kube-proxy has written its rules, a moment after the pods.
        asyncio.run(until(endpoint.answers, f"{endpoint.url} is routed", seconds=15))
        return endpoint

    def remove(self, name: str) -> None:
        """Delete the organization and whatever its policy left."""
        self._kubectl("delete", "orgrt", name, "--ignore-not-found", "--timeout=120s")
        self._kubectl("delete", "namespace", f"org-{name}", "--ignore-not-found", "--timeout=120s")


@pytest.fixture
def organizations(kubectl: Kubectl) -> Iterator[Organizations]:
    with ExitStack() as stack:
        yield Organizations(kubectl, stack)


@pytest.fixture
def initech(organizations: Organizations) -> Endpoint:
    """An organization of the test's own."""
    return organizations.make("initech")
