"""Why work ended, as the client and whoever asks again under its key are told."""

import asyncio
import time
from typing import Final

import orjson

from bulkhead_runtime.errors import Problem, Spent
from bulkhead_runtime.kernel import failures
from bulkhead_runtime.kernel.execution import Execution
from bulkhead_runtime.models.errors import ModelError
from bulkhead_runtime.store.spending import RepeatedAnswer

_CONFLICT: Final = 409


def timed_out(execution: Execution) -> Problem:
    """Return the answer to work that took longer than it may."""
    seconds = execution.deadline - execution.started
    return Problem(
        504,
        "execution_timeout",
        f"The execution was ended after {seconds:g} seconds, its limit "
        "(spec.limits.maxExecutionTimeSeconds, the agent's timeoutSeconds or a budget's seconds).",
    )


def interrupted() -> Problem:
    """Return the answer to work that somebody stopped."""
    return Problem(
        _CONFLICT,
        "interrupted",
        "The turn was interrupted before it had an answer. Send the message again to have it "
        "answered.",
    )


def of(error: BaseException, execution: Execution) -> Problem:
    """Return the problem that an error is told as."""
    if isinstance(error, Problem):
        return error
    if isinstance(error, ModelError):
        return failures.as_problem(error)
    if isinstance(error, asyncio.CancelledError):
        late = time.monotonic() >= execution.deadline
        return timed_out(execution) if late else interrupted()
    return Problem(500, "internal_error", "Something failed inside the runtime.")


def complete(problem: Problem, execution: Execution) -> None:
    """Let a problem tell the session that exists and what was spent."""
    if execution.begun:
        problem.session_id = execution.session_id
    usage = execution.usage
    if execution.purse.lines:
        problem.spent = Spent(usage.input_tokens, usage.output_tokens, usage.cost)


def answer_not_kept(answer: RepeatedAnswer) -> RepeatedAnswer:
    """Return what stands for an answer that is too large to be kept under a key."""
    document = {
        "type": "about:blank",
        "title": "answer_not_kept",
        "status": _CONFLICT,
        "code": "answer_not_kept",
        "detail": (
            f"The request was carried out; its answer has {len(answer.body)} bytes, more than are "
            "kept under an `Idempotency-Key`. An agent's answer is in its session's messages."
        ),
    }
    return RepeatedAnswer(_CONFLICT, "application/problem+json", orjson.dumps(document))
