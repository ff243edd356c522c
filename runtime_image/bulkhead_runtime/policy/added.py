"""Policies that were added through the API: read, bounded, and never able to widen anything.

The API server has not held these against the rules of the resource, so this does.
"""

import re
from dataclasses import dataclass
from typing import Final, Literal

from pydantic import ValidationError

from bulkhead_api.v1alpha1.policies import (
    ArgumentCondition,
    ModelRule,
    NamedModelPolicy,
    NamedToolPolicy,
    ToolRule,
)
from bulkhead_runtime.errors import Problem
from bulkhead_runtime.policy.port import ORGANIZATION

PolicyKind = Literal["tool", "model"]

MAX_DOCUMENT_BYTES: Final = 65_536
MAX_ADDED_POLICIES: Final = 32
"""Of one kind; every one of them is asked about every call."""

_NUMBER: Final = re.compile(r"-?[0-9]{1,15}([.][0-9]{1,6})?")
_ONE_VALUE: Final = frozenset({"Equals", "LessOrEqual", "GreaterOrEqual"})


@dataclass(frozen=True, slots=True)
class AddedPolicy:
    """A policy that is asked about every call besides the organization's own."""

    kind: PolicyKind
    name: str
    rules: tuple[ModelRule, ...]


def parse(kind: PolicyKind, document: str | bytes) -> AddedPolicy:
    """Return the policy of a JSON document {"name", "rules"}; raise a 422 `Problem` otherwise."""
    if len(document) > MAX_DOCUMENT_BYTES:
        raise _invalid("", f"takes more than {MAX_DOCUMENT_BYTES} bytes: split it into several")
    model = NamedToolPolicy if kind == "tool" else NamedModelPolicy
    try:
        policy: NamedToolPolicy | NamedModelPolicy = model.model_validate_json(document)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        raise _invalid(".".join(map(str, first["loc"])), first["msg"]) from None
    if policy.name == ORGANIZATION:
        raise _invalid("name", f"{ORGANIZATION!r} stands for the organization's own policy")
    _check_names(policy.rules)
    for number, rule in enumerate(policy.rules):
        if not rule.match:
            raise _invalid(f"rules.{number}.match", "names nothing: leave it out for every name")
        if isinstance(rule, ToolRule):
            _check_conditions(f"rules.{number}.arguments", rule.arguments)
    return AddedPolicy(kind, policy.name, policy.rules)


def closed(kind: PolicyKind, name: str) -> AddedPolicy:
    """Return what stands for a stored policy that cannot be read: it denies everything."""
    rule = ToolRule if kind == "tool" else ModelRule
    return AddedPolicy(kind, name, (rule(name="unreadable", effect="Deny", match=("*",)),))


def _check_names(rules: tuple[ModelRule, ...]) -> None:
    names = [rule.name for rule in rules]
    repeated = next((name for name in names if names.count(name) > 1), None)
    if repeated is not None:
        raise _invalid("rules", f"has two rules named {repeated!r}: give each a name of its own")


def _check_conditions(field: str, conditions: tuple[ArgumentCondition, ...]) -> None:
    for number, condition in enumerate(conditions):
        values, operator = condition.values, condition.operator
        place = f"{field}.{number}.values"
        if (operator == "Exists") == bool(values):
            raise _invalid(
                place, "must be empty for 'Exists' and name at least one value for every other"
            )
        if operator in _ONE_VALUE and len(values) != 1:
            raise _invalid(place, f"must be one value for {operator!r}: use 'In' for several")
        if operator.endswith("OrEqual") and not _NUMBER.fullmatch(values[0]):
            raise _invalid(place, f"must be a number for {operator!r}, not {values[0][:40]!r}")


def _invalid(field: str, reason: str) -> Problem:
    return Problem(422, "invalid_policy", f"{field or 'The policy'}: {reason}.", field=field)
