"""What alerts and recording rules read: a silent alert is empty, the series below it are not."""

import re
from functools import cache
from pathlib import Path
from typing import Any, Final

import yaml

RULES: Final = Path(__file__).parents[2] / "dashboards" / "alerts" / "bulkhead.rules.yaml"
_SELECTOR: Final = re.compile(
    r"\b((?:bulkhead|controller_runtime|workqueue|rest_client|gen_ai|process)_\w+"
    r"|[a-z_]+:[a-z_]+:\w+)(\{[^}]*\})?"
)


@cache
def _rules() -> tuple[dict[str, Any], ...]:
    groups = yaml.safe_load(RULES.read_text())["groups"]
    return tuple(rule for group in groups for rule in group["rules"])


@cache
def read_by_alerts() -> tuple[tuple[str, str], ...]:
    """Return what is to be asked for each rule: the whole rule, and every series that it reads."""
    asked: dict[str, str] = {}
    for rule in _rules():
        if "alert" in rule:
            for metric, matchers in _SELECTOR.findall(rule["expr"]):
                asked[f"alert {rule['alert']}: {metric}{matchers}"] = f"{metric}{matchers}"
        else:
            asked[f"record {rule['record']}"] = rule["record"]
    return tuple(asked.items())
