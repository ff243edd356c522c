"""The comparison that decides whether a live child needs an apply."""

import copy
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulkhead_operator.cluster.contained import contained, quantity, stripped

CONTAINER = {"name": "runtime", "image": "one", "ports": [{"containerPort": 8080}]}


@pytest.mark.parametrize(
    ("wanted", "live"),
    [
        pytest.param({"a": 1}, {"a": 1, "b": 2}, id="more than wanted is contained"),
        pytest.param({"a": None}, {}, id="None asks for nothing"),
        pytest.param({"metadata": {"labels": {}}}, {"metadata": {}}, id="no labels are no labels"),
        pytest.param({"ingress": []}, {}, id="an empty list equals an absent one"),
        pytest.param(
            {"kind": "Service", "apiVersion": "v1"}, {}, id="items of lists do not say their kind"
        ),
        pytest.param(
            {"limits": {"cpu": "250m", "memory": "1Gi"}},
            {"limits": {"cpu": "0.25", "memory": "1024Mi"}},
            id="quantities are compared as numbers",
        ),
        pytest.param(
            {"hard": {"requests.cpu": "1500m"}},
            {"hard": {"requests.cpu": "1500m", "pods": "3"}},
            id="a quota with more than wanted",
        ),
        pytest.param({"maxSurge": "1"}, {"maxSurge": 1}, id="an int-or-string either way"),
        pytest.param(
            {"containers": [CONTAINER]},
            {
                "containers": [
                    {"name": "sidecar"},
                    {**CONTAINER, "ports": [{"containerPort": 8080, "protocol": "TCP"}]},
                ]
            },
            id="containers are matched by name and ports by number and protocol",
        ),
        pytest.param(
            {"finalizers": ["ours"]},
            {"finalizers": ["theirs", "ours"]},
            id="finalizers of others stay",
        ),
    ],
)
def test_is_contained(wanted: dict[str, Any], live: dict[str, Any]) -> None:
    assert contained(wanted, live)


@pytest.mark.parametrize(
    ("wanted", "live"),
    [
        pytest.param({"a": 1}, {}, id="a missing field"),
        pytest.param({"a": 1}, {"a": 2}, id="another value"),
        pytest.param({"a": 1}, {"a": True}, id="a boolean is not a number"),
        pytest.param(
            {"automountServiceAccountToken": False}, {}, id="False is not the same as absent"
        ),
        pytest.param({"emptyDir": {}}, {"hostPath": {"path": "/"}}, id="a volume of another type"),
        pytest.param(
            {"data": {"size": "1Gi"}},
            {"data": {"size": "1024Mi"}},
            id="text that looks like a quantity is text",
        ),
        pytest.param(
            {"ports": [{"port": 53, "protocol": "UDP"}]},
            {"ports": [{"port": 53, "protocol": "UDP"}, {"port": 80, "protocol": "TCP"}]},
            id="an additional port in a network policy is a hole",
        ),
        pytest.param(
            {"policyTypes": ["Ingress", "Egress"]},
            {"policyTypes": ["Ingress"]},
            id="a policy that lost a direction",
        ),
        pytest.param(
            {"containers": [CONTAINER]},
            {"containers": [{**CONTAINER, "image": "two"}]},
            id="another image",
        ),
        pytest.param({"containers": [CONTAINER]}, {"containers": []}, id="a container is gone"),
        pytest.param({"a": {"b": 1}}, {"a": "text"}, id="text in the place of a map"),
        pytest.param({"args": ["a"]}, {"args": "a"}, id="text in the place of a list"),
        pytest.param(
            {"podSelector": {}},
            {"podSelector": {"matchLabels": {"a": "b"}}},
            id="a selector that was narrowed",
        ),
    ],
)
def test_is_not_contained(wanted: dict[str, Any], live: dict[str, Any]) -> None:
    assert not contained(wanted, live)


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("250m", Decimal("0.25")),
        ("0.25", Decimal("0.25")),
        ("1Gi", Decimal(2**30)),
        ("1e3", Decimal(1000)),
        ("1E", Decimal(10**18)),
        ("12k", Decimal(12000)),
        ("many", None),
        ("", None),
    ],
)
def test_reads_quantities(text: str, number: Decimal | None) -> None:
    assert quantity(text) == number


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4)
    ),
    max_leaves=20,
)
OBJECTS = st.dictionaries(st.text(max_size=8), JSON, max_size=5)


@given(OBJECTS)
def test_everything_contains_itself_without_its_nulls(document: dict[str, Any]) -> None:
    assert contained(document, stripped(document))


@given(OBJECTS, OBJECTS)
def test_what_the_api_server_adds_does_not_matter(
    wanted: dict[str, Any], added: dict[str, Any]
) -> None:
    live = {**added, **copy.deepcopy(stripped(wanted))}
    assert contained(wanted, live)


@given(OBJECTS, st.text(max_size=8), st.integers())
def test_a_changed_value_is_always_noticed(document: dict[str, Any], name: str, value: int) -> None:
    wanted, live = {**document, name: value}, {**stripped(document), name: value + 1}
    assert contained(wanted, live) == (name in {"apiVersion", "kind"})


@given(OBJECTS, st.text(max_size=8), st.integers())
def test_a_lost_value_is_always_noticed(document: dict[str, Any], name: str, value: int) -> None:
    live = {field: item for field, item in stripped(document).items() if field != name}
    wanted = {**document, name: value}
    assert contained(wanted, live) == (name in {"apiVersion", "kind"})
