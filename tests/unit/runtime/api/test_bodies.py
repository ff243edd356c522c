import pytest

from bulkhead_runtime.api.bodies import MAX_DEPTH, refuse_unusable
from bulkhead_runtime.errors import Problem

DEEPEST = b"[" * MAX_DEPTH + b"]" * MAX_DEPTH
TAKEN = {
    "the deepest there may be": DEEPEST,
    "many brackets side by side": b"[" + b",".join([b'{"a":[]}'] * 1000) + b"]",
    "brackets within a text": b'{"a":"' + b"[" * 1000 + b'"}',
    "brackets behind an escaped quote": rb'{"a":"\"' + b"[" * 1000 + b'"}',
    "a number of 64 bits": b'{"a":18446744073709551}',
    "many digits within a text": b'{"a":"' + b"7" * 100 + b'"}',
    "many digits behind a point": b'{"a":0.' + b"7" * 30 + b"}",
    "text that spells U+0000": rb'{"a":"\\u0000"}',
    "another control character": rb'{"a":"\u0001"}',
}
REFUSED = {
    "one level more": (b"[" + DEEPEST + b"]", "too_deep"),
    "half a million levels": (b"[" * 500_000, "too_deep"),
    "levels of both kinds": (b'{"a":[' * 40 + b"]}" * 40, "too_deep"),
    "a number of 70 bits": (b'{"a":1180591620717411303424}', "number_too_large"),
    "such a number among texts": (b'["x",-99999999999999999999]', "number_too_large"),
    "U+0000": (rb'{"a":"\u0000"}', "nul_character"),
    "U+0000 behind a backslash": (rb'{"a":"\\\u0000"}', "nul_character"),
}


@pytest.mark.parametrize("body", TAKEN.values(), ids=TAKEN.keys())
def test_json_is_taken_with(body: bytes) -> None:
    refuse_unusable(body)


@pytest.mark.parametrize(("body", "code"), REFUSED.values(), ids=REFUSED.keys())
def test_json_is_refused_with(body: bytes, code: str) -> None:
    with pytest.raises(Problem) as refusal:
        refuse_unusable(body)
    assert (refusal.value.status, refusal.value.code) == (400, code)
