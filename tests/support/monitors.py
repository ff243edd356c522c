"""What the Prometheus operator would make of the chart's monitors, and what it would discover.

Neither that operator nor a Prometheus that knows Kubernetes can be had here (Debian's is built
without). So targets are discovered with kubectl, under the labels that Prometheus itself would give
them, and the monitors that Helm renders are turned into scrape configurations over those.
"""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from bulkhead_api.names import LABEL_ORGANIZATION
from tests.support import chart
from tests.support.chart import Manifest
from tests.support.cluster import Kubectl

Scrape = dict[str, Any]
Target = dict[str, Any]
_META: Final = "__meta_kubernetes"
_OF_SERVICE: Final = "kubernetes.io/service-name"


def scrapes(interval: str, targets: Path) -> list[Scrape]:
    """Return what the monitors amount to; `targets` is the file of what was discovered."""
    monitor = {"enabled": True, "interval": interval, "scrapeTimeout": interval}
    rendered = chart.render({"metrics": {"serviceMonitor": monitor, "podMonitor": monitor}})
    (of_operator,) = rendered.of("ServiceMonitor")
    (of_runtimes,) = rendered.of("PodMonitor")
    return [_of_service(of_operator, targets), _of_pods(of_runtimes, targets)]


def discovered(kubectl: Kubectl) -> list[Target]:
    """Return every port of our pods and of our Services' endpoints, labelled as Prometheus does."""
    return [*_pods(kubectl), *_endpoints(kubectl)]


def _pods(kubectl: Kubectl) -> Iterator[Target]:
    for pod in kubectl.get("pods", "--all-namespaces", "-l", LABEL_ORGANIZATION)["items"]:
        address = pod["status"].get("podIP")
        if not address or "deletionTimestamp" in pod["metadata"]:
            continue
        labels = _labels("pod", pod["metadata"]["labels"])
        for container in pod["spec"]["containers"]:
            for port in container.get("ports", ()):
                number = str(port["containerPort"])
                yield {
                    "targets": [f"{address}:{number}"],
                    "labels": {
                        **labels,
                        f"{_META}_namespace": pod["metadata"]["namespace"],
                        f"{_META}_pod_name": pod["metadata"]["name"],
                        f"{_META}_pod_container_port_number": number,
                    },
                }


def _endpoints(kubectl: Kubectl) -> Iterator[Target]:
    where = ("-n", chart.NAMESPACE)
    for endpoints in kubectl.get("endpointslices", *where)["items"]:
        service = kubectl.get("service", endpoints["metadata"]["labels"][_OF_SERVICE], *where)
        labels = _labels("service", service["metadata"]["labels"])
        for endpoint in endpoints["endpoints"]:
            for port in endpoints["ports"]:
                yield {
                    "targets": [f"{address}:{port['port']}" for address in endpoint["addresses"]],
                    "labels": {
                        **labels,
                        f"{_META}_namespace": chart.NAMESPACE,
                        f"{_META}_service_name": service["metadata"]["name"],
                        f"{_META}_pod_name": endpoint["targetRef"]["name"],
                        f"{_META}_endpointslice_port_name": port["name"],
                    },
                }


def _labels(kind: str, labels: Mapping[str, str]) -> dict[str, str]:
    named = {f"{_META}_{kind}_label_{_safe(key)}": value for key, value in labels.items()}
    return named | {f"{_META}_{kind}_labelpresent_{_safe(key)}": "true" for key in labels}


def _of_service(monitor: Manifest, targets: Path) -> Scrape:
    (endpoint,) = monitor["spec"]["endpoints"]
    labels = monitor["spec"]["selector"]["matchLabels"]
    return _scrape(
        monitor,
        endpoint,
        targets,
        [
            *(_keep(f"{_META}_service_label_{_safe(key)}", one) for key, one in labels.items()),
            _keep(f"{_META}_endpointslice_port_name", endpoint["port"]),
            *_named("service", "pod"),
            {"source_labels": [f"{_META}_service_name"], "target_label": "job"},
        ],
    )


def _of_pods(monitor: Manifest, targets: Path) -> Scrape:
    (endpoint,) = monitor["spec"]["podMetricsEndpoints"]
    (wanted,) = monitor["spec"]["selector"]["matchExpressions"]
    assert monitor["spec"]["namespaceSelector"] == {"any": True}
    assert wanted["operator"] == "Exists"
    of_monitor = monitor["metadata"]
    return _scrape(
        monitor,
        endpoint,
        targets,
        [
            _keep(f"{_META}_pod_labelpresent_{_safe(wanted['key'])}", "true"),
            _keep(f"{_META}_pod_container_port_number", str(endpoint["portNumber"])),
            *_named("pod"),
            {
                "target_label": "job",
                "replacement": f"{of_monitor['namespace']}/{of_monitor['name']}",
            },
        ],
    )


def _scrape(
    monitor: Manifest, endpoint: Manifest, targets: Path, relabelings: list[dict[str, Any]]
) -> Scrape:
    return {
        "job_name": monitor["metadata"]["name"],
        "metrics_path": endpoint["path"],
        "scrape_interval": endpoint["interval"],
        "scrape_timeout": endpoint["scrapeTimeout"],
        "honor_labels": endpoint.get("honorLabels", False),
        "file_sd_configs": [{"files": [str(targets)]}],
        "relabel_configs": [*relabelings, *map(_snake, endpoint.get("relabelings", ()))],
    }


def _named(*kinds: str) -> list[dict[str, Any]]:
    """Return the labels that the Prometheus operator gives to every target."""
    named = [{"source_labels": [f"{_META}_{kind}_name"], "target_label": kind} for kind in kinds]
    return [{"source_labels": [f"{_META}_namespace"], "target_label": "namespace"}, *named]


def _keep(label: str, value: str) -> dict[str, Any]:
    return {"source_labels": [label], "regex": re.escape(value), "action": "keep"}


def _snake(relabeling: dict[str, Any]) -> dict[str, Any]:
    """Spell a relabeling as Prometheus itself does."""
    return {re.sub(r"([A-Z])", r"_\1", key).lower(): one for key, one in relabeling.items()}


def _safe(label: str) -> str:
    return re.sub(r"[^a-zA-Z0-9_]", "_", label)
