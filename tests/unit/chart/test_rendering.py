from collections.abc import Callable, Iterator
from typing import Any

import pytest
import yaml

from bulkhead_operator.settings import Settings
from tests.support import chart
from tests.support.chart import CRDS_CHART, FULL_VALUES, ROOT, Manifest, render

FULL: dict[str, Any] = yaml.safe_load(FULL_VALUES.read_text())
# Fixed by the chart, because ports, Service and Role are written to fit them.
FIXED = {"probes_port", "metrics_port", "lease_name"}


def _pods(rendered: chart.Rendered) -> Iterator[Manifest]:
    for manifest in rendered.of("Deployment") + rendered.of("Job"):
        yield manifest["spec"]["template"]["spec"]


def _environment(rendered: chart.Rendered) -> dict[str, str]:
    deployment = rendered.one("Deployment", "bulkhead-operator")
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    return {entry["name"]: entry.get("value", "from-the-pod") for entry in container["env"]}


def test_the_default_values_render_what_the_golden_says(
    golden: Callable[[str, str], None],
) -> None:
    golden("default.yaml", chart.text({"crds": {"enabled": False}}))


def test_every_value_set_renders_what_the_golden_says(golden: Callable[[str, str], None]) -> None:
    golden("full.yaml", chart.text(FULL))


@pytest.mark.parametrize("path", [chart.CHART, CRDS_CHART], ids=["bulkhead", "bulkhead-crds"])
def test_helm_finds_nothing_to_complain_about(path: Any) -> None:
    assert "0 chart(s) failed" in chart.helm("lint", "--strict", str(path))


def test_the_full_values_set_every_value_that_there_is() -> None:
    defaults = yaml.safe_load((chart.CHART / "values.yaml").read_text())
    assert _paths(FULL) >= _paths(defaults)


def _paths(values: dict[str, Any], prefix: str = "") -> set[str]:
    found = set()
    for name, value in values.items():
        path = f"{prefix}.{name}"
        found.add(path)
        if isinstance(value, dict):
            found |= _paths(value, path)
    return found


@pytest.mark.parametrize("values", [{}, FULL], ids=["default values", "every value set"])
def test_the_operator_understands_the_environment_it_is_given(values: dict[str, Any]) -> None:
    environment = _environment(render(values))
    settings = Settings.from_environment(environment)
    named = {name.removeprefix("BULKHEAD_").lower() for name in environment}
    assert named == set(Settings.model_fields) - FIXED
    assert settings.operator_labels == {
        "app.kubernetes.io/name": "bulkhead-operator",
        "app.kubernetes.io/instance": "bulkhead",
    }


def test_values_reach_the_operators_settings() -> None:
    settings = Settings.from_environment(_environment(render(FULL)))
    assert settings.runtime_image == "registry.example.com/bulkhead/runtime:0.1.0-rc.1"
    assert settings.runtime_image_pull_secrets == ("registry",)
    assert settings.gateways[0].pod_labels == {"app.kubernetes.io/name": "gateway"}
    assert settings.gateways[1].namespace_labels == {}
    assert settings.scrapers[0].namespace_labels == {"kubernetes.io/metadata.name": "monitoring"}
    assert settings.dns.pod_labels == {"k8s-app": "node-local-dns"}
    assert settings.denied_cidrs == ("10.0.0.0/8", "fd00::/8")
    assert settings.lease_renew_seconds == 7.5
    assert settings.restarts_at_once == 10
    assert settings.resource_prices.memory_gib == 0.004


def test_the_default_values_say_what_the_operator_would_take_by_itself() -> None:
    rendered = Settings.from_environment(_environment(render()))
    own = Settings()
    differing = {"namespace", "identity", "runtime_image", "operator_labels"}
    for field in set(Settings.model_fields) - differing:
        assert getattr(rendered, field) == getattr(own, field), field


def test_every_pod_is_restricted() -> None:
    for pod in _pods(render(FULL)):
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        for container in pod["containers"]:
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }


def test_a_digest_wins_over_a_tag() -> None:
    images = {container["image"] for pod in _pods(render(FULL)) for container in pod["containers"]}
    digest = FULL["operator"]["image"]["digest"]
    assert images == {
        f"registry.example.com/bulkhead/operator@{digest}",
        "registry.example.com/bulkhead/runtime:0.1.0-rc.1",
    }


def test_migrations_run_first_with_the_owners_secret_and_reach_only_the_database() -> None:
    rendered = render(FULL)
    job = rendered.one("Job", "bulkhead-migrations")
    assert job["metadata"]["annotations"]["helm.sh/hook"] == "pre-install,pre-upgrade"
    pod = job["spec"]["template"]["spec"]
    assert pod["automountServiceAccountToken"] is False
    (volume,) = pod["volumes"]
    assert volume["secret"]["secretName"] == "bulkhead-owner"
    assert volume["secret"]["items"] == [{"key": "owner-dsn", "path": "dsn"}]
    policy = rendered.one("NetworkPolicy", "bulkhead-migrations")["spec"]
    labels = job["spec"]["template"]["metadata"]["labels"]
    assert policy["podSelector"]["matchLabels"].items() <= labels.items()
    dns, database = policy["egress"]
    assert dns["to"][0]["podSelector"]["matchLabels"] == {"k8s-app": "node-local-dns"}
    assert database == {"ports": [{"port": 6432}], "to": [{"ipBlock": {"cidr": "192.0.2.5/32"}}]}
    assert not [one for one in render().of("Job") if "migrations" in one["metadata"]["name"]]


def test_ports_of_the_probes_are_those_that_the_operator_listens_on() -> None:
    deployment = render().one("Deployment", "bulkhead-operator")
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    own = Settings()
    assert ports == {"probes": own.probes_port, "metrics": own.metrics_port}


def test_the_definitions_are_kept_unless_told_otherwise() -> None:
    kept = render().of("CustomResourceDefinition")
    assert len(kept) == 3
    for definition in kept:
        assert definition["metadata"]["annotations"] == {"helm.sh/resource-policy": "keep"}
    for definition in render({"crds": {"keep": False}}).of("CustomResourceDefinition"):
        assert "annotations" not in definition["metadata"]
    assert not render({"crds": {"enabled": False}}).of("CustomResourceDefinition")


@pytest.mark.parametrize("path", [chart.CHART, CRDS_CHART], ids=["bulkhead", "bulkhead-crds"])
def test_the_definitions_in_the_chart_are_those_of_the_api(path: Any) -> None:
    rendered = render(chart=path).of("CustomResourceDefinition")
    sources = [yaml.safe_load(file.read_text()) for file in (ROOT / "crds").glob("*.yaml")]
    assert {each["metadata"]["name"]: each["spec"] for each in rendered} == {
        each["metadata"]["name"]: each["spec"] for each in sources
    }


OPTIONAL = {
    "admissionPolicy": ("ValidatingAdmissionPolicy", 3),
    "networkPolicy": ("NetworkPolicy", 1),
    "podDisruptionBudget": ("PodDisruptionBudget", 1),
}


@pytest.mark.parametrize("value", OPTIONAL)
def test_what_is_switched_off_is_not_rendered(value: str) -> None:
    kind, count = OPTIONAL[value]
    assert len(render().of(kind)) == count
    assert not render({value: {"enabled": False}}).of(kind)


def test_without_gateways_the_notes_say_that_nobody_reaches_a_runtime() -> None:
    flags = ("install", "bulkhead", str(chart.CHART), "--dry-run=client", "--namespace", "x")
    assert "No pod may reach a runtime yet" in chart.helm(*flags)
    gateway = '[{"podLabels":{"app":"gateway"}}]'
    assert "No pod may reach" not in chart.helm(*flags, "--set-json", f"network.gateways={gateway}")
