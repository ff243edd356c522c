"""Goldens: what the builders make, kept as files that a person can read and review."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

GOLDEN = Path(__file__).parent / "golden"

Matches = Callable[[str, Mapping[str, Any]], None]


@pytest.fixture
def matches_golden(request: pytest.FixtureRequest) -> Matches:
    def check(name: str, found: Mapping[str, Any]) -> None:
        file = GOLDEN / f"{name}.json"
        text = json.dumps(found, indent=2, sort_keys=True, ensure_ascii=False) + "\n"
        if request.config.getoption("--update-golden"):
            file.write_text(text)
        assert text == file.read_text(), f"{file.name}: rerun with --update-golden if it is right"

    return check
