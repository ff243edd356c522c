"""Every query of every panel, mark and alert has an answer on a system at work."""

import time
from dataclasses import dataclass
from typing import Any, Final

from tests.dashboards import scenario
from tests.dashboards.alerts import read_by_alerts
from tests.dashboards.reasons import EMPTY
from tests.support.cluster import Endpoint, Kubectl
from tests.support.dashboards import every_query, filled
from tests.support.deadline import until
from tests.support.prometheus import Prometheus

WINDOW: Final = "30s"
WARM_SECONDS: Final = 45
"""Scrapes for several windows, and for the rules of alerts to be evaluated."""

LONGEST_SECONDS: Final = 300
"""After so much talk what has no answer yet is taken to have none."""


@dataclass(frozen=True)
class Finding:
    """What became of one query."""

    query: str
    verdict: str
    detail: str

    def row(self) -> str:
        return f"{self.verdict:<8} {self.query:<78} {self.detail}"


async def test_every_query_is_answered(
    kubectl: Kubectl, prometheus: Prometheus, tenants: Endpoint
) -> None:
    began = time.time()
    async with scenario.talking(tenants):
        await scenario.roll_out(kubectl)

        async def warm() -> bool:
            return time.time() - began > WARM_SECONDS

        await until(warm, "tenants talked long enough")
        findings = [*await _panels(prometheus, began), *await _alerts(prometheus, began)]
        while _unanswered(findings) and time.time() - began < LONGEST_SECONDS:
            # A busy machine makes less happen in that time.
            findings = [*await _panels(prometheus, began), *await _alerts(prometheus, began)]
    print("\n" + "\n".join(finding.row() for finding in findings))
    print(f"{len(findings)} queries, {sum(f.verdict == 'reason' for f in findings)} with a reason")
    assert await prometheus.failing_rules() == []
    assert _unanswered(findings) == []


def _unanswered(findings: list[Finding]) -> list[str]:
    return [finding.row() for finding in findings if finding.verdict in {"ERROR", "EMPTY"}]


async def test_every_runtime_and_operator_is_scraped_under_its_organization(
    prometheus: Prometheus, tenants: Endpoint
) -> None:
    found: list[dict[str, Any]] = []

    async def all_up() -> bool:
        # Unknown until the first scrape.
        found[:] = await prometheus.targets()
        return {one["health"] for one in found} == {"up"}

    await until(all_up, "every target is scraped")
    by_job: dict[str, set[str]] = {}
    for one in found:
        labels = one["labels"]
        by_job.setdefault(labels["job"], set()).add(labels.get("organization", ""))
    assert by_job["bulkhead-operator"] == {""}
    assert by_job["bulkhead-system/bulkhead-runtimes"] >= {"acme", "globex", scenario.NAME}


async def test_what_the_operator_tells_of_an_object_keeps_the_objects_namespace(
    prometheus: Prometheus, tenants: Endpoint
) -> None:
    told = f'bulkhead_resource_condition{{kind="AgentPackage", namespace="{scenario.NAMESPACE}"}}'

    async def scraped() -> int:
        return (await prometheus.during(told, time.time() - 10, time.time())).series

    await until(scraped, "the package's conditions are scraped under its own namespace")


async def _panels(prometheus: Prometheus, began: float) -> list[Finding]:
    findings = []
    for query in every_query():
        span = f"{int(time.time() - began)}s"
        expression = filled(query.expression, window=WINDOW, span=span)
        findings.append(await _asked(prometheus, str(query), expression, began))
    return findings


async def _alerts(prometheus: Prometheus, began: float) -> list[Finding]:
    return [
        await _asked(prometheus, name, expression, began) for name, expression in read_by_alerts()
    ]


async def _asked(prometheus: Prometheus, name: str, expression: str, began: float) -> Finding:
    answer = await prometheus.during(expression, began, time.time())
    reason = EMPTY.get(name, "")
    if answer.error:
        return Finding(name, "ERROR", answer.error)
    if answer.series:
        return Finding(name, "ok", f"{answer.series} series")
    return Finding(name, "reason", reason) if reason else Finding(name, "EMPTY", expression)
