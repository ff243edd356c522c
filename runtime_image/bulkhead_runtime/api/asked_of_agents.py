"""What clients of OpenAI's APIs may ask of an agent, which has its own instructions and tools."""

from collections.abc import Mapping
from typing import Any, Final

from msgspec.structs import replace

from bulkhead_runtime.api.chat_body import ChatBody
from bulkhead_runtime.api.responses_body import ResponseBody
from bulkhead_runtime.errors import Problem
from bulkhead_runtime.models.port import ModelMessage

_OF_TOOLS: Final = ("tool_choice", "parallel_tool_calls")


def refuse_for_agents(
    body: ChatBody | ResponseBody, messages: tuple[ModelMessage, ...], field: str
) -> None:
    """Raise a 422 `Problem` for tools, and where the last message is no user's."""
    asked = {
        "tools": bool(body.tools),
        "tool_choice": body.tool_choice not in (None, "auto"),
        "parallel_tool_calls": body.parallel_tool_calls is False,
    }
    for name, is_asked in asked.items():
        if is_asked:
            raise Problem(
                422,
                "tools_not_allowed",
                f"`{name}` cannot be given for an agent, which has tools of its own. Leave it out, "
                "or address a model as PROVIDER/MODEL.",
                field=name,
            )
    if messages[-1].role != "user":
        raise Problem(
            422,
            "invalid_body",
            f"The last of `{field}` must be a message of the role `user` when an agent answers.",
            field=field,
        )


def options_for_agent(options: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Return the parameters that an agent's calls of its model take over."""
    return {name: value for name, value in options.items() if name not in _OF_TOOLS} or None


def messages_for_agent(messages: tuple[ModelMessage, ...]) -> tuple[ModelMessage, ...]:
    """Return the messages as an agent takes them: only its package instructs it, no client."""
    return tuple(
        replace(message, role="user") if message.role == "system" else message
        for message in messages
    )
