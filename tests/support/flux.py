"""Reads health as Flux does where a Kustomization has expressions of its own.

An object whose generation was not observed yet is in progress; then the expressions are asked in
this order, each with the object's top-level fields as variables.
"""

from collections.abc import Mapping
from typing import Any

import cel


def health(expressions: Mapping[str, str], live: Mapping[str, Any]) -> str:
    """Return InProgress, Failed or Current."""
    observed = live.get("status", {}).get("observedGeneration")
    if observed is not None and observed != live["metadata"]["generation"]:
        return "InProgress"
    for field, reading in (
        ("inProgress", "InProgress"),
        ("failed", "Failed"),
        ("current", "Current"),
    ):
        if field in expressions and cel.evaluate(expressions[field], dict(live)) is True:
            return reading
    return "InProgress"
