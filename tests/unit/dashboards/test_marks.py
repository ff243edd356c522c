"""Marks in time stand where something happened, and nowhere else."""

from pathlib import Path

from tests.support import promtool
from tests.support.dashboards import FILES, filled, queries

TARGET = 'job="runtimes", instance="10.0.0.1:9090", organization="acme", package="assistant"'


def mark(name: str) -> str:
    """Return the query of a mark, for everybody."""
    (file,) = (file for file in FILES if file.stem == "package-rollout")
    (query,) = (query for query in queries(file) if query.where == f"mark {name}")
    return filled(query.expression, window="2m", span="1h")


def marked(folder: Path, versions: dict[str, str], *, at: str, expected: list[str]) -> None:
    """Hold the versions whose share is marked at a moment against what is expected."""
    weight = "bulkhead_package_version_weight"
    labels = 'organization="acme", package="assistant", version='
    values = {version: shares.split()[int(at.rstrip("m"))] for version, shares in versions.items()}
    case = {
        "interval": "1m",
        "input_series": [
            {"series": f'{weight}{{{TARGET}, version="{version}"}}', "values": shares}
            for version, shares in versions.items()
        ],
        "promql_expr_test": [
            {
                "expr": mark("Share changed"),
                "eval_time": at,
                "exp_samples": [
                    {"labels": f'{{{labels}"{version}"}}', "value": float(values[version])}
                    for version in expected
                ],
            }
        ],
    }
    promtool.test(folder, {"groups": []}, case)


STEP_BY_STEP = {"1.0.0": "100 100 50 50 0 0", "1.1.0": "_ 0 50 50 100 100"}
AT_ONCE = {"1.0.0": "100 100 stale _ _", "1.1.0": "_ _ 100 100 100"}


def test_a_share_that_changes_is_marked_for_both_versions(tmp_path: Path) -> None:
    marked(tmp_path, STEP_BY_STEP, at="2m", expected=["1.0.0", "1.1.0"])


def test_a_share_that_stays_is_not_marked(tmp_path: Path) -> None:
    marked(tmp_path, STEP_BY_STEP, at="3m", expected=[])


def test_a_version_that_comes_with_its_whole_share_is_marked_once(tmp_path: Path) -> None:
    marked(tmp_path, AT_ONCE, at="2m", expected=["1.1.0"])
    marked(tmp_path, AT_ONCE, at="4m", expected=[])
