"""Writes what is generated from the rules; run by `make generate`."""

from pathlib import Path

from dashboards.alerts.page import page
from dashboards.alerts.rules import chart_template, rule_file

ROOT = Path(__file__).resolve().parents[2]
RULE_FILE = ROOT / "dashboards" / "alerts" / "bulkhead.rules.yaml"
CHART_TEMPLATE = ROOT / "charts" / "bulkhead" / "templates" / "prometheusrule.yaml"
PAGE = ROOT / "docs" / "reference" / "alerts.md"


def main() -> None:
    """Write all files."""
    RULE_FILE.write_text(rule_file())
    CHART_TEMPLATE.write_text(chart_template())
    PAGE.write_text(page())


if __name__ == "__main__":
    main()
