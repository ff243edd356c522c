"""A provider's chunks as our frames: our id and model in them, counted on the way.

Nothing is modelled, so that fields which nobody here knows reach the client as they are. Most
chunks of an answer differ in their text alone: the first of them is decoded, and the others are
told from it by comparing bytes.
"""

import re
from typing import Any, Final

import orjson

from bulkhead_runtime.models.accounting import Counts
from bulkhead_runtime.models.failures import Failures
from bulkhead_runtime.models.fast_lane.answer import (
    bytes_of_delta,
    decoded_chunk,
    require_bounded,
    usage_of,
)
from bulkhead_runtime.models.fast_lane.events import AFTER, DONE, data_of
from bulkhead_runtime.models.port import ByteRequest

_DONE_FRAME: Final = b"data: " + DONE + AFTER
_UNLEARNT: Final = 1
"""So many chunks are only decoded: the first has the role beside its text, or no text at all."""

_MAX_PATTERNS: Final = 8
"""Who writes every chunk in another way is not understood better by trying on."""

_CONTENT: Final = re.compile(rb'"content": ?"')
_NOT_ITSELF: Final = bytes([*range(32), *b'"\\'])
_PROBE: Final = b"~ any text ~"


class Pattern:
    """Events that differ in their text alone, and the frames that they become."""

    __slots__ = ("_beside", "_frame_end", "_frame_start", "end", "start")

    def __init__(self, event: tuple[bytes, bytes], frame: tuple[bytes, bytes], beside: int) -> None:
        self.start, self.end = event
        self._frame_start, self._frame_end = frame
        self._beside = beside

    @classmethod
    def of(
        cls, event: bytes, chunk: dict[str, Any], answer_id: str, model: str
    ) -> "Pattern | None":
        """Return the pattern of a decoded event, None where its text cannot be told by its place.

        All but the text of an event of this pattern was noted when this one was decoded.
        """
        found = _CONTENT.search(event)
        choices = chunk["choices"]
        if found is None or len(choices) != 1:
            return None
        choice, delta = choices[0], choices[0].get("delta") or {}
        text = delta.get("content")
        if not isinstance(text, str) or not text:
            return None
        start, rest = event[: found.end()], event[found.end() :]
        end = rest.removeprefix(text.encode())
        other = {**delta, "content": _PROBE.decode()}
        probed = {**chunk, "choices": [{**choice, "delta": other}]}
        try:
            if orjson.loads(data_of(start + _PROBE + end)) != probed:
                return None
        except orjson.JSONDecodeError:
            return None
        before, *after = orjson.dumps({**probed, "id": answer_id, "model": model}).split(_PROBE)
        if len(after) != 1:
            return None
        beside = bytes_of_delta(other) - len(_PROBE)
        return cls((start, end + AFTER), (b"data: " + before, after[0] + AFTER), beside)

    def texts(self, events: bytes) -> tuple[list[bytes], bytes]:
        """Return the texts of the events, and the events behind those of this pattern.

        A text that is not plain may be more than that: other events, with the end of one that is
        of the pattern behind them.
        """
        *pieces, rest = events.split(self.end)
        behind = len(self.start)
        texts = [piece[behind:] for piece in pieces if piece.startswith(self.start)]
        return (texts, rest) if len(texts) == len(pieces) else ([], events)

    def frames(self, texts: list[bytes]) -> bytes:
        """Return the frames of events with these texts."""
        return (
            self._frame_start + (self._frame_end + self._frame_start).join(texts) + self._frame_end
        )

    def output_bytes(self, texts: list[bytes]) -> int:
        """Return the bytes of the events' deltas."""
        return sum(map(len, texts)) + self._beside * len(texts)


def _are_plain(texts: list[bytes]) -> bool:
    """Tell whether all are inside of a JSON string what they are outside."""
    joined = b" ".join(texts)
    if len(joined.translate(None, _NOT_ITSELF)) != len(joined):
        return False
    if joined.isascii():
        return True
    try:
        joined.decode()
    except UnicodeDecodeError:
        return False
    return True


class Reframing:
    """Turns events into frames that carry our id and model."""

    __slots__ = (
        "_decoded",
        "_failures",
        "_id",
        "_include_usage",
        "_max_output_tokens",
        "_model",
        "_pattern",
        "_patterns_left",
        "done",
        "finished",
        "output_bytes",
        "usage",
    )

    def __init__(self, request: ByteRequest, failures: Failures) -> None:
        self.finished = False
        self.done = False
        self.usage: Counts | None = None
        self.output_bytes = 0
        self._model = request.model
        self._id = request.answer_id
        self._include_usage = request.include_usage
        self._max_output_tokens = request.max_output_tokens
        self._failures = failures
        self._pattern: Pattern | None = None
        self._patterns_left = _MAX_PATTERNS
        self._decoded = 0

    def at_end(self) -> bytes:
        """Return the end that is ours to write where upstream finished without [DONE]."""
        self.done = self.finished
        return _DONE_FRAME if self.done else b""

    def of(self, events: bytes) -> bytes:
        """Return the frames for the client, which may be none; raise `ModelError`."""
        frames: list[bytes] = []
        at = 0
        while at < len(events):
            pattern = self._pattern
            if pattern is not None and events.startswith(pattern.start, at):
                texts, rest = pattern.texts(events[at:])
                frames.append(self._told(pattern, texts))
                if rest:
                    frames.append(self._frames(rest, learn=True))
                break
            end = events.find(AFTER, at)
            end = len(events) if end < 0 else end
            frames.append(self._frame(events[at:end], learn=True))
            at = end + len(AFTER)
        require_bounded(self.output_bytes, self._max_output_tokens, self._failures)
        return b"".join(frames)

    def _told(self, pattern: Pattern, texts: list[bytes]) -> bytes:
        """Return the frames of events with these texts, which are told by the pattern if plain."""
        if self.done or not texts:
            return b""
        if _are_plain(texts):
            self.output_bytes += pattern.output_bytes(texts)
            return pattern.frames(texts)
        if len(texts) > 1:
            return b"".join(self._told(pattern, [text]) for text in texts)
        return self._frames(pattern.start + texts[0] + pattern.end)

    def _frames(self, events: bytes, *, learn: bool = False) -> bytes:
        return b"".join(self._frame(event, learn=learn) for event in events.split(AFTER) if event)

    def _frame(self, event: bytes, *, learn: bool = False) -> bytes:
        data = data_of(event)
        if not data or self.done:
            return b""
        if data == DONE:
            self.done = True
            return _DONE_FRAME
        chunk = decoded_chunk(data, self._failures)
        if not self._keeps(chunk):
            return b""
        self._decoded += 1
        if learn and self._decoded > _UNLEARNT and self._patterns_left > 0:
            self._learn(event, chunk)
        chunk["id"] = self._id
        chunk["model"] = self._model
        return b"data: %s\n\n" % orjson.dumps(chunk)

    def _learn(self, event: bytes, chunk: dict[str, Any]) -> None:
        pattern = Pattern.of(event, chunk, self._id, self._model)
        if pattern is not None:
            self._pattern = pattern
            self._patterns_left -= 1

    def _keeps(self, chunk: dict[str, Any]) -> bool:
        """Note what a chunk tells and say whether the client is to see it."""
        choices = chunk.get("choices")
        if not isinstance(choices, list):
            raise self._failures.garbage("a chunk that is no part of a chat completion")
        try:
            for choice in choices:
                self.output_bytes += bytes_of_delta(choice.get("delta") or {})
                if choice.get("finish_reason"):
                    self.finished = True
        except AttributeError:
            raise self._failures.garbage("a chunk that is no part of a chat completion") from None
        if chunk.get("usage") is None:
            return True
        self.usage = usage_of(chunk) or self.usage
        if not self._include_usage:
            del chunk["usage"]
        return self._include_usage or bool(choices)
