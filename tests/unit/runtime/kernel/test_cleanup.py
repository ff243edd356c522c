"""What leaves a model's context when it fills up, over any conversation."""

from hypothesis import given
from hypothesis import strategies as st

from bulkhead_runtime.kernel.cleanup import clean
from bulkhead_runtime.models.port import ModelMessage, ToolCall

USER = st.builds(ModelMessage, st.just("user"), st.text(max_size=40))
ANSWER = st.builds(ModelMessage, st.just("assistant"), st.text(max_size=40))


@st.composite
def _called(draw: st.DrawFn) -> list[ModelMessage]:
    count = draw(st.integers(1, 3))
    calls = tuple(ToolCall(f"c{n}", "calculate", "{}") for n in range(count))
    results = [ModelMessage("tool", "7", tool_call_id=call.id) for call in calls]
    return [ModelMessage("assistant", "", calls), *results]


@st.composite
def conversations(draw: st.DrawFn) -> tuple[list[ModelMessage], int]:
    """Return a conversation as turns make it, and how many messages are pinned at its front.

    Its last turn waits for the model's first answer, or for one to what tools returned.
    """
    pinned = draw(st.integers(0, 2))
    messages = [ModelMessage("system", "be kind"), ModelMessage("user", "summary")][:pinned]
    for _ in range(draw(st.integers(0, 6))):
        messages.append(draw(USER))
        for called in draw(st.lists(_called(), max_size=2)):
            messages.extend(called)
        messages.append(draw(ANSWER))
    messages.append(draw(USER))
    for called in draw(st.lists(_called(), max_size=2)):
        messages.extend(called)
    return messages, pinned


def _sizes(messages: list[ModelMessage]) -> list[int]:
    return [len(message.content) + 1 for message in messages]


@given(conversations(), st.integers(1, 200), st.integers(1, 100), st.integers(1, 8))
def test_what_stays_is_whole_and_ends_with_the_turn_that_waits(
    conversation: tuple[list[ModelMessage], int], start: int, share: int, keep: int
) -> None:
    messages, pinned = conversation
    sizes = _sizes(messages)
    target = start * share // 100
    cleaned = clean(messages, sizes, start=start, target=target, keep=keep, pinned=pinned)

    kept = list(cleaned.messages)
    assert kept == messages[:pinned] + messages[len(messages) - len(kept) + pinned :]
    assert cleaned.removed == len(messages) - len(kept)
    assert cleaned.tokens == sum(_sizes(kept))
    *_, waits = (at for at, message in enumerate(messages) if message.role == "user")
    assert kept[waits - len(messages) :] == messages[waits:]
    assert kept[-keep:] == messages[-keep:] or len(kept) - pinned >= min(keep, len(messages))
    asked = {call.id for message in kept for call in message.tool_calls}
    assert all(message.tool_call_id in asked for message in kept if message.role == "tool")
    assert kept[pinned].role != "tool"


@given(conversations(), st.integers(1, 200))
def test_nothing_leaves_while_there_is_room(
    conversation: tuple[list[ModelMessage], int], spare: int
) -> None:
    messages, pinned = conversation
    sizes = _sizes(messages)
    room = sum(sizes) + spare - 1
    cleaned = clean(messages, sizes, start=room, target=0, keep=1, pinned=pinned)
    assert (list(cleaned.messages), cleaned.removed) == (messages, 0)


@given(conversations())
def test_it_comes_down_to_the_target_unless_only_what_always_stays_is_left(
    conversation: tuple[list[ModelMessage], int],
) -> None:
    messages, pinned = conversation
    sizes = _sizes(messages)
    cleaned = clean(messages, sizes, start=0, target=sum(sizes) // 2, keep=1, pinned=pinned)
    *_, waits = (at for at, message in enumerate(messages) if message.role == "user")
    assert cleaned.tokens <= sum(sizes) // 2 or list(cleaned.messages[pinned:]) == messages[waits:]


def test_the_oldest_turns_leave_first() -> None:
    messages = [
        ModelMessage("system", "be kind"),
        ModelMessage("user", "one"),
        ModelMessage("assistant", "first"),
        ModelMessage("user", "two"),
        ModelMessage("assistant", "second"),
        ModelMessage("user", "three"),
    ]
    cleaned = clean(messages, [10] * 6, start=50, target=40, keep=1, pinned=1)
    assert [message.content for message in cleaned.messages] == [
        "be kind",
        "two",
        "second",
        "three",
    ]
    assert (cleaned.removed, cleaned.tokens) == (2, 40)
