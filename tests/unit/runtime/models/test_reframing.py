"""Chunks that are told by their bytes become what chunks become that are decoded."""

import json
from collections.abc import Callable
from typing import Any

import orjson
from hypothesis import example, given
from hypothesis import strategies as st

from bulkhead_runtime.models.errors import ModelError
from bulkhead_runtime.models.failures import Failures
from bulkhead_runtime.models.fast_lane.reframing import Pattern, Reframing
from bulkhead_runtime.models.port import ByteRequest

Write = Callable[[Any], str]
Read = tuple[bytes, int, bool]
USED = {"prompt_tokens": 1, "completion_tokens": 2}

_FAILURES = Failures("up", None)


def _reframing(*, include_usage: bool = False) -> Reframing:
    request = ByteRequest(
        model="up/words",
        body={},
        answer_id="chatcmpl-ours",
        include_usage=include_usage,
        max_output_tokens=4096,
        deadline=1.0,
    )
    return Reframing(request, _FAILURES)


def _event(text: str, write: Write = json.dumps, **further: Any) -> bytes:
    delta = {"content": text, **further.pop("delta", {})}
    choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": None}
    chunk = {"id": "theirs", "created": 1.5, "model": "m", "choices": [choice], **further}
    return b"data: " + write(chunk).encode()


def _read(events: list[bytes]) -> bytes:
    return b"".join(event + b"\n\n" for event in events)


def _outcome(reframing: Reframing, events: list[bytes]) -> Read:
    try:
        return reframing.of(_read(events)), reframing.output_bytes, reframing.finished
    except ModelError as error:
        return error.message.encode(), -1, False


WRITERS: tuple[Write, ...] = (
    json.dumps,
    lambda chunk: json.dumps(chunk, ensure_ascii=False, separators=(",", ":")),
    lambda chunk: orjson.dumps(chunk).decode(),
)
_TEXTS = st.one_of(
    st.text(max_size=8),
    st.sampled_from(
        ["", " the", '"', "\\", '","content":"', "\n\n", "ä", "\u2028", "~ any text ~"]
    ),
)
_FURTHER = st.sampled_from(
    [
        {},
        {},
        {},
        {"usage": None},
        {"obfuscation": "x7", "usage": None},
        {"delta": {"role": "assistant"}},
        {"delta": {"reasoning_content": "hm, ä"}},
        {"delta": {"content": None}},
        {"usage": USED},
        {"choices": [{"delta": {"content": "a"}, "finish_reason": "stop"}], "usage": USED},
        {"choices": []},
        {"id": "another", "choices": [{"delta": {"content": "a"}}, {"delta": {"content": "b"}}]},
        {"choices": [{"delta": {"content": "a"}, "finish_reason": "stop"}]},
        {"error": "broken"},
        {"choices": "none"},
    ]
)


BEFORE = [_event(text) for text in ("some", "words", "before", " these")]


@given(
    write=st.sampled_from(WRITERS),
    chunks=st.lists(st.tuples(_TEXTS, _FURTHER), max_size=20),
    at_once=st.integers(min_value=1, max_value=20),
    include_usage=st.booleans(),
)
def test_every_chunk_becomes_what_it_would_become_alone(
    write: Write, chunks: list[tuple[str, dict[str, Any]]], at_once: int, *, include_usage: bool
) -> None:
    events = [_event(text, write, **further) for text, further in chunks]
    _assert_as_alone(events, at_once, include_usage=include_usage)


@given(
    texts=st.lists(st.one_of(st.binary(max_size=6), st.sampled_from([b"\xc3", b"\xa4", b"ok"]))),
    at_once=st.integers(min_value=1, max_value=20),
)
@example(texts=[b"half a character \xc3", b"\xa4 and its other half"], at_once=6)
def test_bytes_that_are_no_json_are_found_in_chunks_that_are_not_decoded(
    texts: list[bytes], at_once: int
) -> None:
    before, after = _event("CUT").split(b"CUT")
    events = [*BEFORE, *(before + text + after for text in texts)]
    _assert_as_alone(events, at_once)


def _assert_as_alone(events: list[bytes], at_once: int, *, include_usage: bool = False) -> None:
    """Read events together and each alone, until one of them is refused."""
    together = _reframing(include_usage=include_usage)
    written = 0
    for first in range(0, len(events), at_once):
        read = events[first : first + at_once]
        lonely = [_reframing(include_usage=include_usage) for _ in read]
        alone = [_outcome(*one) for one in zip(lonely, [[event] for event in read], strict=True)]
        frames, output_bytes, finished = _outcome(together, read)
        refused = [words for words, size, _ in alone if size < 0]
        if refused:
            assert frames == refused[0]
            return
        written += sum(size for _, size, _ in alone)
        assert frames == b"".join(frame for frame, _, _ in alone)
        assert output_bytes == written
        assert finished or not any(end for _, _, end in alone)
        assert together.usage == (1, 2) or not any(one.usage for one in lonely)


def test_what_stands_between_chunks_of_one_pattern_is_seen() -> None:
    between = [b": still there", _event('say "a"'), _event("b", system_fingerprint="other")]
    _assert_as_alone([*BEFORE, *(one for event in between for one in (event, *BEFORE))], 20)


def test_nothing_follows_the_end_within_one_read() -> None:
    reframing = _reframing()
    frames = reframing.of(_read([*BEFORE, b"data: [DONE]", *BEFORE]))
    assert frames.endswith(b"data: [DONE]\n\n")
    assert frames.count(b"data: ") == len(BEFORE) + 1


def test_a_chunk_that_lacks_a_quotation_mark_is_refused() -> None:
    before, after = _event("CUT").split(b"CUT")
    _assert_as_alone([*BEFORE, before[:-1] + after], 1)


def test_what_stands_beside_the_text_is_counted_too() -> None:
    beside = {"role": "assistant", "reasoning_content": "hm, ä"}
    _assert_as_alone([_event(text, delta=beside) for text in "abcdefgh"], 8)


def test_what_only_looks_like_the_text_is_not_taken_for_it() -> None:
    decoy: dict[str, Any] = {"system_fingerprint": '"content":"decoy"'}
    events = [
        b'data: {"id":"a","model":"m","x":{"content":"same"},"choices":[{"delta":'
        b'{"content":"%s"}}]}' % text
        for text in (b"same",) * 4 + (b"one", b"two")
    ]
    _assert_as_alone([*events, *(_event(text, **decoy) for text in ("decoy", "b", "c"))], 9)


def test_chunks_that_differ_in_their_text_alone_are_known_by_the_first() -> None:
    events = [_event(f"word{number} ") for number in range(100)]
    chunk = orjson.loads(events[0].removeprefix(b"data: "))
    pattern = Pattern.of(events[0], chunk, "chatcmpl-ours", "up/words")
    assert pattern is not None
    done = [b"data: [DONE]"]
    texts = [b"word%d " % number for number in range(100)]
    assert pattern.texts(_read(events + done)) == (texts, _read(done))
