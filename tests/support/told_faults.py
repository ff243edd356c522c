"""What tests of faults noted for the table at the end of a run."""

from typing import Any

import pytest


def told_faults(terminalreporter: pytest.TerminalReporter) -> list[Any]:
    """Return what passed tests recorded as their property `fault`, in order."""
    return [
        value
        for report in terminalreporter.getreports("passed")
        for name, value in report.user_properties
        if name == "fault"
    ]
