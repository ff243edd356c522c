"""How the answers of PostgreSQL become what the ports name, refusals included."""

import logging
from base64 import b64decode
from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Any, get_args

import orjson

from bulkhead_runtime import errors
from bulkhead_runtime.models.port import ModelMessage, ToolCall
from bulkhead_runtime.store import refusals
from bulkhead_runtime.store.port import (
    BeginTurn,
    PoolBounds,
    Session,
    StoredMessage,
    Turn,
)
from bulkhead_runtime.store.spending import (
    Account,
    Amounts,
    Balance,
    Begin,
    Begun,
    BudgetRefused,
    ClaimRefused,
    Dimension,
    Finish,
    Finished,
    RepeatedAnswer,
)

log = logging.getLogger(__name__)

MILLISECONDS = 1000

SESSION_COLUMNS = (
    "id, principal, agent, package, version, status, created_at, updated_at, turns, messages, "
    "input_tokens, output_tokens, cost::text, metadata::text, title, autonomy_level, compactions, "
    "context_tokens, summary, summary_until, revision"
)
PRINCIPAL, STATUS, MESSAGES, SUMMARY_UNTIL, REVISION = 1, 5, 9, 19, 20
_METADATA = 13
_UPDATED_AT = 7

MESSAGE_COLUMNS = "sequence, turn, created_at, role, content, tool_calls, tool_call_id, tokens"

Tail = tuple[tuple[int, ModelMessage], ...]
"""The newest messages in order, each with its sequence."""

_DIMENSIONS: tuple[Dimension, ...] = get_args(Dimension)
"""In the order of the columns of bulkhead.amounts."""

_Refusal = dict[str, Any]
_PROBLEMS: dict[str, Callable[[_Refusal], errors.Problem]] = {
    "unknown_session": lambda _: errors.unknown_session(),
    "session_busy": lambda _: refusals.session_busy(),
    "turn_lost": lambda _: refusals.turn_lost(),
    "reservation_gone": lambda _: refusals.reservation_gone(),
    "session_full": lambda said: refusals.session_full(said["limit"]),
    "too_many_sessions": lambda said: refusals.too_many_sessions(said["limit"]),
    "too_many_parallel_sessions": lambda said: refusals.too_many_parallel_sessions(said["limit"]),
    "too_many_new_sessions": lambda said: refusals.too_many_new_sessions(
        said["limit"], said["retry_ms"] / MILLISECONDS
    ),
}


def checked(answer: Any, bounds: PoolBounds | None = None) -> Any:
    """Return the answer; raise the `Problem` that it names, if it names one."""
    if not isinstance(answer, dict) or "problem" not in answer:
        return answer
    name = answer["problem"]
    if name == "pool_full" and bounds is not None:
        raise errors.pool_full(bounds.name, bounds.max_memory_mb)
    if name in _PROBLEMS:
        raise _PROBLEMS[name](answer)
    log.error("PostgreSQL refused", extra={"state": answer["state"], "reason": answer["reason"]})
    raise errors.store_unavailable("The conversation store could not take this.", retry_after=None)


def begun(answer: Any, request: Begin, known: Tail = ()) -> Begun | ClaimRefused | BudgetRefused:
    """Return work that may run, or why it may not; `known` is the tail that was at hand."""
    refused = _claim_refused(answer) or budget_refused(answer, request.accounts)
    if refused is not None:
        return refused
    begun_turn = None if request.turn is None else turn(answer["turn"], request.turn, known)
    return Begun(begun_turn, balances(answer["balances"], request.accounts))


def finished(answer: Any, request: Finish) -> Finished:
    """Return what is stored."""
    return Finished(answer["turn"], balances(answer["balances"], request.accounts))


def budget_refused(answer: Any, accounts: tuple[Account, ...]) -> BudgetRefused | None:
    """Return which account has no room, None where all have."""
    if "dimension" not in answer:
        return None
    left = max(Decimal(answer["room"]), Decimal(0))
    return BudgetRefused(accounts[answer["account"]], answer["dimension"], left)


def balances(answer: Any, accounts: tuple[Account, ...]) -> tuple[Balance, ...]:
    """Return where the accounts stand, in the order in which they were given."""
    standing = {(row["scope"], row["key"]): row for row in answer}
    return tuple(
        _balance(account, standing.get((account.scope, account.key))) for account in accounts
    )


def amounts(row: str) -> Amounts:
    """Return amounts of the text of a row of bulkhead.amounts, as `(3,0.25,0,1,12)`."""
    return dict(zip(_DIMENSIONS, map(Decimal, row[1:-1].split(",")), strict=True))


def tail(rows: list[list[Any]]) -> Tail:
    """Return messages that came newest first in their order."""
    return tuple(
        (sequence, ModelMessage(role, content, calls(tool_calls), tool_call_id))
        for sequence, role, content, tool_calls, tool_call_id in reversed(rows)
    )


def turn(answer: Any, asked: BeginTurn, known: Tail) -> Turn:
    """Return a turn that may run; `known` is its tail where PostgreSQL left it out.

    The history begins with a user's message that no summary stands for.
    """
    rows = known if answer["history"] is None else tail(answer["history"])
    until = answer["summary_until"]
    newest = [(sequence, message) for sequence, message in rows if sequence > until]
    newest = newest[-asked.tail :]
    start = next((at for at, (_, message) in enumerate(newest) if message.role == "user"), None)
    history = [] if start is None else newest[start:]
    return Turn(
        session_id=asked.session_id,
        number=answer["number"],
        fence=answer["fence"],
        history=tuple(message for _, message in history),
        first_sequence=history[0][0] if history else until + 1,
        summary=answer["summary"],
        summary_until=until,
        compactions=answer["compactions"],
        context_tokens=answer["context_tokens"],
        autonomy_level=answer["autonomy_level"],
    )


def session(row: Sequence[Any], bounds: PoolBounds) -> Session:
    """Return the session of a row of SESSION_COLUMNS."""
    fields = [*row[:REVISION], _expires_at(row[_UPDATED_AT], bounds)]
    fields[_METADATA] = orjson.loads(row[_METADATA])
    return Session(*fields)


def stored_message(row: tuple[Any, ...]) -> StoredMessage:
    """Return the message of a row of MESSAGE_COLUMNS."""
    sequence, number, created_at, role, content, tool_calls, tool_call_id, tokens = row
    message = ModelMessage(role, content, calls(tool_calls), tool_call_id)
    return StoredMessage(sequence, number, created_at, message, tokens)


def calls(text: str | None) -> tuple[ToolCall, ...]:
    """Return the tool calls of their JSON text."""
    return () if text is None else tuple(ToolCall(*call) for call in orjson.loads(text))


def _balance(account: Account, row: Any) -> Balance:
    if row is None:
        nothing = dict.fromkeys(_DIMENSIONS, Decimal(0))
        return Balance(account, nothing, nothing)
    return Balance(account, amounts(row["used"]), amounts(row["reserved"]))


def _expires_at(updated_at: int, bounds: PoolBounds) -> int | None:
    idle = bounds.idle_seconds
    return None if idle is None else updated_at + idle * MILLISECONDS


def _claim_refused(answer: Any) -> ClaimRefused | None:
    reason = answer.get("claim")
    if reason != "finished":
        return None if reason is None else ClaimRefused(reason)
    body = b64decode(answer["body"])
    return ClaimRefused(reason, RepeatedAnswer(answer["status"], answer["content_type"], body))
