"""Takes the oldest messages out of what a model is told when its context window fills up.

Pure. What belongs together leaves together: a call of tools with its results. What stays always:
the messages pinned at the front (instructions, summary), the newest ones, and everything from the
message on that waits for its answer.
"""

from collections.abc import Sequence

from msgspec import Struct

from bulkhead_runtime.models.port import ModelMessage


class Cleaned(Struct, frozen=True):
    """What is left to tell, and how much went."""

    messages: tuple[ModelMessage, ...]
    removed: int
    tokens: int


def clean(
    messages: Sequence[ModelMessage],
    sizes: Sequence[int],
    *,
    start: int,
    target: int,
    keep: int,
    pinned: int = 0,
) -> Cleaned:
    """Return the messages that come down to `target` tokens once they are more than `start`.

    `sizes` are the messages' tokens, `keep` how many of the newest stay, `pinned` how many of the
    first. More than `target` are left where nothing else may go.
    """
    tokens = sum(sizes)
    if tokens <= start:
        return Cleaned(tuple(messages), 0, tokens)
    last = _first_kept(messages, keep, pinned)
    position = pinned
    while position < last and (tokens > target or messages[position].role != "user"):
        tokens -= sizes[position]
        position += 1
    kept = (*messages[:pinned], *messages[position:])
    return Cleaned(kept, position - pinned, tokens)


def _first_kept(messages: Sequence[ModelMessage], keep: int, pinned: int) -> int:
    """Return where the part begins that always stays."""
    pending = max(
        (at for at, message in enumerate(messages) if message.role == "user"),
        default=len(messages),
    )
    first = max(pinned, min(len(messages) - keep, pending))
    while first > pinned and first < len(messages) and messages[first].role == "tool":
        first -= 1
    return first
