"""Fault tests: one case of each class by default, every case with `--every-fault`."""

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--every-fault",
        action="store_true",
        help="visit every enumerated fault point instead of one of each class",
    )


@pytest.fixture
def every_fault(request: pytest.FixtureRequest) -> bool:
    """Tell whether every fault point is wanted."""
    return bool(request.config.getoption("--every-fault"))
