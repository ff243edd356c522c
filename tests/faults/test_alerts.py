"""What a real Prometheus says of a runtime whose provider fails, from the runtime's own series."""

import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import yaml

from tests.support.deadline import until
from tests.support.runtime.places import embedded, stubbed
from tests.support.runtime_process import RuntimeProcess, agent, client, document
from tests.support.servers import Server, binary
from tests.support.stub_provider import StubProvider

RULES = Path(__file__).parents[2] / "dashboards" / "alerts" / "bulkhead.rules.yaml"
BROKEN = "stub/error"
CIRCUIT = {"failures": 3, "openSeconds": 60}
OFTEN = "1s"
SEEN_SECONDS = 120


@pytest.fixture
def prometheus() -> Iterator[Server]:
    server = Server("prometheus", user="root")
    yield server
    server.close()


def watch(prometheus: Server, runtime: RuntimeProcess) -> None:
    """Let it scrape the runtime and evaluate the rules every second, without their patience."""
    rules = yaml.safe_load(RULES.read_text())
    for group in rules["groups"]:
        group["interval"] = OFTEN
        for rule in group["rules"]:
            rule.pop("for", None)
    (prometheus.folder / "rules.yaml").write_text(yaml.safe_dump(rules))
    target = {
        "targets": [f"127.0.0.1:{runtime.internal_port}"],
        "labels": {"organization": "acme"},
    }
    configuration = prometheus.folder / "prometheus.yaml"
    configuration.write_text(
        json.dumps(
            {
                "global": {"scrape_interval": OFTEN},
                "rule_files": ["rules.yaml"],
                "scrape_configs": [{"job_name": "runtimes", "static_configs": [target]}],
            }
        )
    )
    address = f"--web.listen-address=127.0.0.1:{prometheus.port}"
    data = f"--storage.tsdb.path={prometheus.folder / 'data'}"
    program = binary("prometheus", "prometheus", "usr/bin")
    prometheus.launch(
        [program, f"--config.file={configuration}", data, address], prometheus.listens
    )


async def firing(prometheus: Server) -> set[tuple[str, str, str]]:
    """Return name, severity and organization of what fires."""
    url = f"http://127.0.0.1:{prometheus.port}/api/v1/alerts"
    async with aiohttp.ClientSession() as http, http.get(url) as answer:
        alerts: list[dict[str, Any]] = (await answer.json())["data"]["alerts"]
    return {
        (told["alertname"], told["severity"], told.get("organization", ""))
        for told in (alert["labels"] for alert in alerts if alert["state"] == "firing")
    }


async def fails_and_fires(
    http: aiohttp.ClientSession, prometheus: Server, wanted: set[tuple[str, str, str]]
) -> bool:
    """Fail in a stream, whose status is 200 by then, and tell whether all that is wanted fires."""
    async with http.post(
        "/v1/agents/assistant/execute/stream", json={"message": "Hello?"}
    ) as answer:
        assert answer.status == 200
        assert "model_unavailable" in await answer.text()
    return await firing(prometheus) >= wanted


async def test_streams_that_fail_since_their_provider_does_wake_somebody_up(
    tmp_path: Path, provider: StubProvider, prometheus: Server
) -> None:
    place = embedded(tmp_path)
    version = document("1.0.0", agent("assistant", model=BROKEN))
    place.follow(version, **stubbed(provider, (BROKEN,), maxRetries=0, circuitBreaker=CIRCUIT))
    wanted = {
        ("BulkheadAvailabilityBurning", "critical", "acme"),
        ("BulkheadProviderFailing", "warning", "acme"),
    }
    with place.process() as runtime:
        watch(prometheus, runtime)
        async with client(runtime) as http:
            await until(
                partial(fails_and_fires, http, prometheus, wanted), "both fire", SEEN_SECONDS
            )
