"""Server-sent events out of reads that end anywhere.

A read may end inside a frame, a line or a character; what is incomplete waits for the next read.
"""

from typing import Final

from bulkhead_runtime.models.errors import ModelError

MAX_EVENT_BYTES: Final = 1_048_576
MAX_STREAM_BYTES: Final = 67_108_864
"""Of a whole answer with everything around it; 4 MiB of text are long reached by then."""

DONE: Final = b"[DONE]"
AFTER: Final = b"\n\n"
"""What an event ends with."""

_BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"
_DATA: Final = b"data:"


class EventReader:
    """Collects one stream's events."""

    __slots__ = ("_begun", "_bytes", "_rest")

    def __init__(self) -> None:
        self._rest = b""
        self._begun = False
        self._bytes = 0

    def whole(self, read: bytes) -> bytes:
        """Return the events that this read completes, as they were sent, `AFTER` each.

        Raises `ModelError` of kind garbage for an event larger than 1 MiB and for a stream larger
        than 64 MiB.
        """
        self._bytes += len(read)
        text = self._rest + read if self._rest else read
        if b"\r" in text:
            text = _normalized(text)
        events, ended, self._rest = text.rpartition(AFTER)
        if ended and not self._begun:
            events = events.removeprefix(_BYTE_ORDER_MARK)
            self._begun = True
        if len(self._rest) > MAX_EVENT_BYTES:
            raise _too_large("an event", MAX_EVENT_BYTES)
        if self._bytes > MAX_STREAM_BYTES:
            raise _too_large("a stream", MAX_STREAM_BYTES)
        return events + ended

    def rest(self) -> bytes:
        """Return what is left at the end, where a provider forgot the last empty line."""
        left = self._rest.replace(b"\r", b"\n").strip(b"\n")
        self._rest = b""
        return left

    def feed(self, read: bytes) -> list[bytes]:
        """Return the data of the events that this read completes; raise as `whole` does."""
        return data_of_each(self.whole(read))

    def finish(self) -> list[bytes]:
        """Return the data of what is left at the end."""
        return data_of_each(self.rest())


def _too_large(what: str, limit: int) -> ModelError:
    return ModelError("garbage", f"The provider sent {what} of more than {limit} bytes.")


def _normalized(text: bytes) -> bytes:
    """Return the text with plain line ends, except a last CR that may be half of CR LF."""
    held = text.endswith(b"\r")
    body = text[:-1] if held else text
    body = body.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    return body + b"\r" if held else body


def data_of_each(events: bytes) -> list[bytes]:
    """Return the data of those events that have some."""
    return [data for event in events.split(AFTER) if (data := data_of(event))]


def data_of(event: bytes) -> bytes:
    """Return the data of an event; comments, names and identifiers are dropped."""
    if event.startswith(b"data: ") and b"\n" not in event:
        return event[6:]
    lines = (line for line in event.split(b"\n") if line.startswith(_DATA))
    return b"\n".join(line[len(_DATA) :].removeprefix(b" ") for line in lines)
