import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulkhead_runtime.models.errors import ModelError
from bulkhead_runtime.models.fast_lane.events import MAX_EVENT_BYTES, MAX_STREAM_BYTES, EventReader

STREAM = (
    '\ufeffdata: {"a": "ä"}\r\n\r\n'
    ": PROCESSING\n\n"
    "event: chunk\nid: 4\ndata:first\ndata: second\n\n"
    "event: chunk\r\ndata: one\r\ndata: two\r\n\r\n"
    "data: \r\r"
    "data: lone carriage returns\r\r"
    "data: [DONE]\n\n"
    "data: no empty line after this"
).encode()
EVENTS = [
    '{"a": "ä"}'.encode(),
    b"first\nsecond",
    b"one\ntwo",
    b"lone carriage returns",
    b"[DONE]",
    b"no empty line after this",
]


def read_in(pieces: list[bytes]) -> list[bytes]:
    reader = EventReader()
    events = [event for piece in pieces for event in reader.feed(piece)]
    return events + reader.finish()


@given(st.lists(st.integers(min_value=1, max_value=len(STREAM)), max_size=30))
def test_events_are_the_same_wherever_the_reads_end(cuts: list[int]) -> None:
    borders = [0, *sorted(set(cuts)), len(STREAM)]
    pieces = [STREAM[a:b] for a, b in itertools.pairwise(borders)]
    assert read_in(pieces) == EVENTS


def test_events_are_the_same_byte_by_byte() -> None:
    assert read_in([bytes([byte]) for byte in STREAM]) == EVENTS


def test_an_event_without_end_is_refused_instead_of_collected() -> None:
    reader = EventReader()
    reader.feed(b"data: " + b"x" * (MAX_EVENT_BYTES - 6))
    with pytest.raises(ModelError) as refused:
        reader.feed(b"x")
    assert refused.value.kind == "garbage"


def test_a_stream_that_never_says_anything_is_refused_at_last() -> None:
    reader = EventReader()
    comment = b": still there" + b"." * 1_000_000 + b"\n\n"
    for _ in range(MAX_STREAM_BYTES // len(comment)):
        assert reader.feed(comment) == []
    with pytest.raises(ModelError, match="stream of more than") as refused:
        reader.feed(comment)
    assert refused.value.kind == "garbage"
