"""Schemas that somebody wrote who may want to hurt: bounded in time, still of some use."""

import time
from typing import Any

import pytest

from bulkhead_runtime.tools.schemas import TooCostlyError, foreign_check


def valid(schema: dict[str, Any], value: Any) -> bool:
    return foreign_check(schema)(value) is None


def doubling(levels: int) -> dict[str, Any]:
    """Return a schema of a few kilobytes whose references name 2 ** levels parts."""
    parts: dict[str, Any] = {
        f"p{level}": {"anyOf": [{"$ref": f"#/$defs/p{level + 1}"}] * 2} for level in range(levels)
    }
    return {"$ref": "#/$defs/p0", "$defs": {**parts, f"p{levels}": {"const": 1}}}


def test_an_ordinary_schema_is_held_against_arguments() -> None:
    schema = {
        "type": "object",
        "properties": {"who": {"$ref": "#/$defs/person"}},
        "required": ["who"],
        "$defs": {"person": {"type": "object", "required": ["name"]}},
    }
    assert valid(schema, {"who": {"name": "Ann"}})
    assert not valid(schema, {"who": {}})
    assert not valid(schema, {})


@pytest.mark.parametrize(
    "schema",
    [
        pytest.param({"properties": {"a": {"pattern": "(a+)+$"}}}, id="an endless expression"),
        pytest.param({"patternProperties": {"(a+)+$": {"type": "null"}}}, id="one for names"),
        pytest.param(
            {"patternProperties": {"^(a|aa)+$": {}}, "additionalProperties": False},
            id="one that says which names are additional",
        ),
        pytest.param(doubling(60), id="references that multiply"),
        pytest.param({"$ref": "#"}, id="a reference to itself"),
        pytest.param(
            {"properties": {"a": {"anyOf": [{"$ref": "#/properties/a"}] * 2}}}, id="a circle"
        ),
        pytest.param({"$ref": "http://127.0.0.1:1/schema"}, id="an address"),
        pytest.param({"$ref": "file:///etc/passwd"}, id="a file"),
        pytest.param({"$ref": "#/$defs/missing"}, id="a part that is not there"),
        pytest.param({"type": 5}, id="no schema at all"),
        pytest.param({"properties": {"a": {"$id": "http://x/", "$ref": "y"}}}, id="another base"),
    ],
)
def test_a_hostile_schema_takes_no_time_and_lets_arguments_through(schema: dict[str, Any]) -> None:
    begun = time.process_time()
    assert valid(schema, {"a": "a" * 40 + "!", "a" * 40 + "!": None})
    assert time.process_time() - begun < 1


def test_arguments_that_are_no_object_are_refused_whatever_the_schema() -> None:
    assert not valid({"$ref": "#"}, [1])


COSTLY = [
    pytest.param(
        {"items": {"anyOf": [{"const": number} for number in range(700)]}},
        [699] * 15_000,
        id="alternatives for each of many elements",
    ),
    pytest.param(
        {"items": {"enum": [f"v{number}" for number in range(1_500)]}},
        ["v1499"] * 8_000,
        id="values for each of many elements",
    ),
    pytest.param(
        {"anyOf": [{"type": "null"}] * 1_600}, [[1] * 30_000], id="failures that repeat the value"
    ),
]


@pytest.mark.parametrize(("schema", "value"), COSTLY)
def test_arguments_that_take_too_long_are_given_up(schema: dict[str, Any], value: Any) -> None:
    check = foreign_check({"properties": {"a": schema}})
    with pytest.raises(TooCostlyError):
        check({"a": value})
    assert check({}) is None


def test_elements_that_must_differ_are_left_to_the_server() -> None:
    schema = {"properties": {"a": {"uniqueItems": True}}}
    begun = time.process_time()
    assert valid(schema, {"a": [{"k": number} for number in range(5_000)]})
    assert time.process_time() - begun < 1


def test_names_that_no_expression_concerns_are_still_held_against_the_schema() -> None:
    schema = {"properties": {"a": {}}, "additionalProperties": False}
    assert valid(schema, {"a": 1})
    assert not valid(schema, {"b": 1})
