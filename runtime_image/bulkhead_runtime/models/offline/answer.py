"""What the embedded model says: a greeting, what it was asked, and what it remembers."""

from collections.abc import Sequence
from typing import Any, Final

import orjson

from bulkhead_runtime.models.port import ModelMessage, ModelRequest

MAX_QUOTED_CHARACTERS: Final = 280


def answer_text(organization: str, request: ModelRequest) -> str:
    """Return the answer to the last message of the request."""
    results = _results_since_question(request.messages)
    sentences = [_told(result) for result in results] or [_greeting(organization, request)]
    sentences.append(_remembered(request.messages))
    return " ".join(sentence for sentence in sentences if sentence)


def last_question(messages: Sequence[ModelMessage]) -> str:
    """Return what the user said last, empty where nobody said anything."""
    return next((m.content for m in reversed(messages) if m.role == "user"), "")


def _results_since_question(messages: Sequence[ModelMessage]) -> list[ModelMessage]:
    results: list[ModelMessage] = []
    for message in reversed(messages):
        if message.role == "user":
            break
        if message.role == "tool":
            results.append(message)
    return results[::-1]


def _told(result: ModelMessage) -> str:
    envelope = _decoded(result.content)
    if envelope.get("ok") is True:
        return f"The tool says: {_facts(envelope.get('data'))}."
    error = envelope.get("error")
    reason = error.get("message") if isinstance(error, dict) else result.content
    return f"The tool could not help: {_quoted(str(reason))}"


def _facts(data: Any) -> str:
    if isinstance(data, dict):
        return ", ".join(f"{key} {_quoted(str(value))}" for key, value in data.items())
    return _quoted(str(data))


def _decoded(text: str) -> dict[str, Any]:
    try:
        value = orjson.loads(text)
    except (orjson.JSONDecodeError, UnicodeEncodeError):
        return {"ok": True, "data": text}
    return value if isinstance(value, dict) and "ok" in value else {"ok": True, "data": value}


def _greeting(organization: str, request: ModelRequest) -> str:
    whom = f" of {organization}" if organization else ""
    parts = [
        f"Hello! I am the embedded offline model{whom}: no key, no network, no intelligence.",
        f'You said: "{_quoted(last_question(request.messages))}"',
    ]
    instructions = next((m.content for m in request.messages if m.role == "system"), "").strip()
    if instructions:
        parts.append(f'My instructions begin with: "{_quoted(instructions.splitlines()[0], 80)}"')
    if request.tools:
        parts.append(f"I may call: {', '.join(tool.name for tool in request.tools)}.")
    return " ".join(parts)


def _remembered(messages: Sequence[ModelMessage]) -> str:
    spoken = [m for m in messages if m.role in {"user", "assistant"} and m.content]
    questions = [m.content for m in spoken if m.role == "user"]
    if len(questions) <= 1:
        return "This is turn 1 of our conversation."
    return (
        f"This is turn {len(questions)} of what I see of our conversation; I remember "
        f'{len(spoken) - 1} earlier messages, the first question was: "{_quoted(questions[0], 80)}"'
    )


def _quoted(text: str, limit: int = MAX_QUOTED_CHARACTERS) -> str:
    return text if len(text) <= limit else f"{text[:limit]}..."
