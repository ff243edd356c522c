"""A real Prometheus that scrapes the cluster as the chart's monitors would, and answers queries."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import yaml

from tests.support.cluster import Kubectl
from tests.support.monitors import discovered, scrapes
from tests.support.servers import Server, binary

_EVERY = "2s"


@dataclass(frozen=True)
class Answer:
    """What a query came to: its series, or why there is none."""

    series: int
    error: str = ""


class Prometheus:
    """One server; it keeps nothing after `close`."""

    def __init__(self, kubectl: Kubectl, rules: Sequence[Path] = ()) -> None:
        self.server = Server("prometheus", user="root")
        self._kubectl = kubectl
        self._targets = self.server.folder / "targets.json"
        self.discover()
        configuration = {
            "global": {"scrape_interval": _EVERY, "evaluation_interval": _EVERY},
            "rule_files": [str(self._hastened(file)) for file in rules],
            "scrape_configs": scrapes(_EVERY, self._targets),
        }
        file = self.server.folder / "prometheus.yaml"
        file.write_text(yaml.safe_dump(configuration))
        self._url = f"http://127.0.0.1:{self.server.port}"
        self.server.launch(
            [
                binary("prometheus", "prometheus", "usr/bin"),
                f"--config.file={file}",
                f"--storage.tsdb.path={self.server.folder / 'data'}",
                f"--web.listen-address=127.0.0.1:{self.server.port}",
                "--enable-feature=exemplar-storage",
                "--log.level=warn",
            ],
            self.server.listens,
        )

    def discover(self) -> None:
        """Scrape what is in the cluster now; what left it no more."""
        partial = self._targets.with_suffix(".new")
        partial.write_text(json.dumps(discovered(self._kubectl)))
        partial.replace(self._targets)

    async def during(self, expression: str, start: float, end: float) -> Answer:
        """Evaluate at every step from `start` to `end`, in Unix seconds."""
        bounds = {"start": str(start), "end": str(end), "step": _EVERY}
        return await self._ask("query_range", query=expression, **bounds)

    async def targets(self) -> list[dict[str, Any]]:
        """Return what is scraped."""
        async with (
            aiohttp.ClientSession() as session,
            session.get(f"{self._url}/api/v1/targets?state=active") as response,
        ):
            found: list[dict[str, Any]] = (await response.json())["data"]["activeTargets"]
            return found

    async def failing_rules(self) -> list[str]:
        """Return the rules that could not be evaluated, each with the reason."""
        async with (
            aiohttp.ClientSession() as session,
            session.get(f"{self._url}/api/v1/rules") as response,
        ):
            groups = (await response.json())["data"]["groups"]
            return [
                f"{rule['name']}: {rule.get('lastError', 'never evaluated')}"
                for group in groups
                for rule in group["rules"]
                if rule["health"] != "ok"
            ]

    def close(self) -> None:
        """End the server."""
        self.server.close()

    def _hastened(self, rules: Path) -> Path:
        """Return a copy of a rule file whose groups are evaluated as often as targets are read."""
        copied = yaml.safe_load(rules.read_text())
        for group in copied["groups"]:
            group.pop("interval", None)
        file = self.server.folder / rules.name
        file.write_text(yaml.safe_dump(copied))
        return file

    async def _ask(self, what: str, **form: str) -> Answer:
        # Long queries do not fit into an address.
        async with (
            aiohttp.ClientSession() as session,
            session.post(f"{self._url}/api/v1/{what}", data=form) as response,
        ):
            said = await response.json(content_type=None)
            if said["status"] != "success":
                return Answer(0, said["error"])
            return Answer(len(said["data"]["result"]))
