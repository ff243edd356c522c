"""Policies that clients add: what is taken, what is refused, and when it is in force."""

import asyncio
import json
from typing import Any, Literal

import pytest

from bulkhead_runtime.errors import Problem
from bulkhead_runtime.policy.added import MAX_ADDED_POLICIES, parse
from bulkhead_runtime.policy.administration import PolicyAdministration
from bulkhead_runtime.policy.engine import CompiledPolicies
from bulkhead_runtime.store.records import StoredPolicy
from tests.support.contexts import execution_context
from tests.support.deadline import until

CLOSED = {"name": "closed", "effect": "Deny"}
NO_CALCULATOR = {"name": "quiet", "rules": [CLOSED]}


class Shelf:
    """Keeps policies in memory, as a store does in a table.

    The next answer waits for `slow` and says what was there when it was asked.
    """

    def __init__(self) -> None:
        self.kept: dict[tuple[str, str], StoredPolicy] = {}
        self.slow: asyncio.Event | None = None

    async def policies(self) -> tuple[StoredPolicy, ...]:
        found = tuple(self.kept[key] for key in sorted(self.kept))
        if (slow := self.slow) is not None:
            self.slow = None
            await slow.wait()
        return found

    async def was_asked(self) -> bool:
        return self.slow is None

    async def holds_any(self) -> bool:
        return bool(self.kept)

    async def put_policy(self, policy: StoredPolicy) -> None:
        self.kept[policy.kind, policy.name] = policy

    async def delete_policy(self, kind: Literal["tool", "model"], name: str) -> bool:
        return self.kept.pop((kind, name), None) is not None


@pytest.fixture
def changes() -> list[tuple[str, str, str]]:
    return []


@pytest.fixture
def engine() -> CompiledPolicies:
    return CompiledPolicies()


@pytest.fixture
def shelf() -> Shelf:
    return Shelf()


@pytest.fixture
def administration(
    shelf: Shelf, engine: CompiledPolicies, changes: list[tuple[str, str, str]]
) -> PolicyAdministration:
    return PolicyAdministration(shelf, engine, lambda *change: changes.append(change))


def may_calculate(engine: CompiledPolicies) -> bool:
    return engine.decide_tool("calculate", {}, "low", "assistant", execution_context()).proceeds


def document(**rule: Any) -> str:
    return json.dumps({"name": "quiet", "rules": [{"name": "r", "effect": "Deny", **rule}]})


async def test_until_the_store_was_read_everything_is_denied(
    administration: PolicyAdministration, engine: CompiledPolicies
) -> None:
    context = execution_context()
    assert not may_calculate(engine)
    assert engine.decide_model("any/model", "assistant", context).rule.startswith("not-read-yet/")
    await administration.load()
    assert may_calculate(engine)
    assert engine.decide_model("any/model", "assistant", context).proceeds


async def test_an_added_policy_is_in_force_at_once_and_gone_when_it_is_removed(
    administration: PolicyAdministration,
    engine: CompiledPolicies,
    changes: list[tuple[str, str, str]],
) -> None:
    await administration.put("tool", json.dumps(NO_CALCULATOR), "ann")
    assert not may_calculate(engine)
    await administration.remove("tool", "quiet", "bob")
    assert may_calculate(engine)
    assert changes == [("tool", "quiet", "ann"), ("tool", "quiet", "bob")]


async def test_a_slow_answer_of_the_store_never_undoes_what_was_added_meanwhile(
    administration: PolicyAdministration, engine: CompiledPolicies, shelf: Shelf
) -> None:
    await administration.load()
    shelf.slow = arrived = asyncio.Event()
    reading = asyncio.create_task(administration.load())
    await until(shelf.was_asked, "the store was asked")
    adding = asyncio.create_task(administration.put("tool", document(), "ann"))
    await until(shelf.holds_any, "the policy is stored")
    arrived.set()
    await asyncio.gather(reading, adding)
    assert not may_calculate(engine)


async def test_what_was_added_before_a_restart_is_in_force_after_it(
    administration: PolicyAdministration, shelf: Shelf
) -> None:
    await administration.put("tool", json.dumps(NO_CALCULATOR), "ann")
    restarted = CompiledPolicies()
    await PolicyAdministration(shelf, restarted, lambda *_: None).load()
    assert not may_calculate(restarted)


async def test_a_stored_policy_that_cannot_be_read_denies_everything(
    shelf: Shelf, administration: PolicyAdministration, engine: CompiledPolicies
) -> None:
    await shelf.put_policy(StoredPolicy("tool", "broken", '{"name":', "ann", 0))
    await administration.load()
    decision = engine.decide_tool("calculate", {}, "low", "assistant", execution_context())
    assert decision.rule == "broken/unreadable"
    assert not decision.proceeds


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        pytest.param("{", "Invalid JSON", id="half a document"),
        pytest.param('{"name": "Not A Name", "rules": []}', "name", id="a name that is none"),
        pytest.param('{"name": "a", "rules": []}', "rules", id="no rules"),
        pytest.param(document(effect="Permit"), "rules.0.effect", id="an unknown effect"),
        pytest.param(document(unknown=1), "rules.0.unknown", id="an unknown field"),
        pytest.param(
            document(arguments=[{"path": "/a", "operator": "LessOrEqual", "values": []}]),
            "rules.0.arguments.0.values: must be empty for 'Exists'",
            id="a comparison with nothing",
        ),
        pytest.param(
            document(arguments=[{"path": "/a", "operator": "LessOrEqual", "values": ["x"]}]),
            "must be a number",
            id="a bound that is no number",
        ),
        pytest.param(
            document(arguments=[{"path": "/a", "operator": "Equals", "values": ["1", "2"]}]),
            "use 'In' for several",
            id="equal to two values",
        ),
        pytest.param(
            json.dumps({"name": "a", "rules": [CLOSED, CLOSED]}),
            "two rules named 'closed'",
            id="two rules of one name",
        ),
        pytest.param(
            document(match=[]), "rules.0.match: names nothing", id="a rule that would never hold"
        ),
        pytest.param(
            json.dumps({"name": "organization", "rules": [CLOSED]}),
            "stands for the organization's own",
            id="the name of the organization's own policy",
        ),
        pytest.param('"' + "x" * 70_000 + '"', "more than 65536 bytes", id="an oversized document"),
    ],
)
def test_what_is_no_policy_is_refused_with_the_place_and_the_remedy(text: str, hint: str) -> None:
    with pytest.raises(Problem) as refused:
        parse("tool", text)
    assert refused.value.status == 422
    assert hint in refused.value.message


async def test_there_is_a_bound_to_how_many_policies_are_added(
    administration: PolicyAdministration,
) -> None:
    def numbered(number: int) -> str:
        return json.dumps({**NO_CALCULATOR, "name": f"p{number}"})

    for number in range(MAX_ADDED_POLICIES):
        await administration.put("model", numbered(number), "ann")
    await administration.put("model", numbered(0), "ann")
    await administration.put("tool", numbered(0), "ann")
    with pytest.raises(Problem) as refused:
        await administration.put("model", numbered(MAX_ADDED_POLICIES), "ann")
    assert refused.value.code == "too_many_policies"


async def test_policies_that_are_added_at_once_respect_the_bound_too(
    administration: PolicyAdministration, shelf: Shelf
) -> None:
    for number in range(MAX_ADDED_POLICIES - 1):
        await administration.put("tool", json.dumps({**NO_CALCULATOR, "name": f"p{number}"}), "ann")
    shelf.slow = arrived = asyncio.Event()
    adding = [
        asyncio.create_task(
            administration.put("tool", json.dumps({**NO_CALCULATOR, "name": name}), "ann")
        )
        for name in ("first", "second")
    ]
    await until(shelf.was_asked, "the store was asked")
    arrived.set()
    outcomes = await asyncio.gather(*adding, return_exceptions=True)
    assert len(shelf.kept) == MAX_ADDED_POLICIES
    assert [isinstance(outcome, Problem) for outcome in outcomes] == [False, True]


async def test_removing_what_is_not_there_says_so(administration: PolicyAdministration) -> None:
    with pytest.raises(Problem) as refused:
        await administration.remove("tool", "nothing", "ann")
    assert (refused.value.status, refused.value.code) == (404, "unknown_policy")


def test_a_document_says_nothing_of_what_it_may_not_hold() -> None:
    with pytest.raises(Problem) as refused:
        parse("tool", json.dumps({**NO_CALCULATOR, "name": "password=hunter2 "}))
    assert "hunter2" not in refused.value.message
