"""The local cluster after `make up`, an organization with much to tell, and a Prometheus."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster.kubectl import Kubectl as ClusterKubectl
from tests.dashboards import scenario
from tests.dashboards.alerts import RULES
from tests.support.cluster import Endpoint, Kubectl
from tests.support.prometheus import Prometheus


@pytest.fixture(scope="session")
def kubectl() -> Kubectl:
    return Kubectl()


@pytest.fixture(scope="session")
def prometheus(kubectl: Kubectl) -> Iterator[Prometheus]:
    prometheus = Prometheus(kubectl, rules=[RULES])
    yield prometheus
    prometheus.close()


@pytest.fixture(scope="session")
def tenants(kubectl: Kubectl, prometheus: Prometheus) -> Iterator[Endpoint]:
    with scenario.established(kubectl, ClusterKubectl(Path(kubectl.kubeconfig))) as endpoint:
        prometheus.discover()
        yield endpoint
