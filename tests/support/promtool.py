"""Prometheus' own judge of rules: reads them and evaluates them over made-up series."""

import subprocess
from pathlib import Path
from typing import Any

import yaml

from tests.support.servers import binary


class RulesError(Exception):
    """promtool found something wrong; the text is what it said."""


def check(rules: Path) -> str:
    """Return what promtool says of a rule file that it takes without a complaint."""
    return _run("check", "rules", "--lint=all", "--lint-fatal", str(rules))


def test(folder: Path, rules: dict[str, Any], case: dict[str, Any]) -> None:
    """Evaluate rules over the series of one test; raise `RulesError` with the differences."""
    (folder / "rules.yaml").write_text(yaml.safe_dump(rules))
    document = {
        "rule_files": ["rules.yaml"],
        "evaluation_interval": "1m",
        # Otherwise groups take turns at random.
        "group_eval_order": [group["name"] for group in rules["groups"]],
        "tests": [case],
    }
    file = folder / "test.yaml"
    file.write_text(yaml.safe_dump(document, width=1_000_000))
    _run("test", "rules", str(file))


def _run(*arguments: str) -> str:
    program = binary("promtool", "prometheus", "usr/bin")
    done = subprocess.run([program, *arguments], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RulesError(done.stdout + done.stderr)
    return done.stdout + done.stderr
