"""Every type of event, in the words of the documents; a type that is not here does not exist."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

EVENT_TYPES: Final[Mapping[str, str]] = MappingProxyType(
    {
        "request.start": "An execution was accepted (agent, model, request_id).",
        "request.complete": (
            "An execution ended well (agent, version, outcome, input_tokens, output_tokens, "
            "seconds, request_id)."
        ),
        "request.error": (
            "An execution failed or was refused (as request.complete, and code, status)."
        ),
        "session.created": "A session began (agent, version).",
        "session.archived": "A session was deleted through the API; its audit trail stays.",
        "session.expired": "A session was archived because nothing happened in it.",
        "session.interrupted": "A running turn was stopped through the API.",
        "session.exported": "A session's history was exported.",
        "session.compacted": "Older turns became a summary (turns; by: model or fallback).",
        "session.cleaned": "Old messages left the model's context (messages, tokens).",
        "tool.pre_call": "A tool is about to run (agent, tool, risk, rule).",
        "tool.post_call": "A tool ended (agent, tool, ok, code, seconds).",
        "tool.denied": "Policy denied a tool, or would have (agent, tool, rule, reason, audit).",
        "tool.circuit_open": "A source of tools failed too often and is left alone (source).",
        "tool.circuit_closed": "A source of tools answers again (source).",
        "model.denied": "A model was denied, or would have been (model, reason, audit).",
        "model.fallback": "Another model answered (from, to, reason).",
        "model.circuit_open": "A provider failed too often and is left alone (provider).",
        "model.circuit_closed": "A provider answers again (provider).",
        "budget.warning": "An account passed a step (scope, key, dimension, percent).",
        "budget.throttled": "A step slows down: a request was refused (scope, key, percent).",
        "budget.cheaper_model": "A step changed the model (scope, key, percent, from, to).",
        "budget.refused": "An account has no room (scope, key, dimension, left).",
        "policy.changed": "A policy was added or removed through the API (kind, name).",
        "idempotency.start": "An idempotency key was claimed (agent).",
        "idempotency.hit": "A finished answer was repeated (agent).",
        "idempotency.conflict": "A key was used again with other content (agent).",
        "idempotency.complete": "An answer was stored for its key (agent).",
        "idempotency.fail": "A key was freed because its work failed (agent).",
        "safety.flagged": "Text looks like an injection (source, patterns; of a tool also agent).",
        "safety.moderated": "The provider's moderation refused an input (categories).",
        "key.created": "An API key was made through the API (name, scopes).",
        "key.revoked": "An API key was removed through the API (name).",
        "events.lost": "Events were lost because the store did not take them in time (events).",
    }
)
