"""What FastAPI's part of the API takes and shows, as pydantic models for its OpenAPI document."""

from collections.abc import Callable, Mapping
from datetime import datetime
from decimal import Decimal
from typing import Annotated, Any, Literal

import orjson
from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from bulkhead_runtime.api.rest.parameters import moment
from bulkhead_runtime.kernel.window import ContextUse
from bulkhead_runtime.models.port import CatalogEntry
from bulkhead_runtime.store.port import (
    AutonomyLevel,
    MessagePage,
    Session,
    SessionPage,
    StoredMessage,
)
from bulkhead_runtime.tools.port import Tool

MetadataKey = Annotated[str, StringConstraints(min_length=1, max_length=64)]
MetadataValue = Annotated[str, StringConstraints(max_length=512)]


class NewSessionBody(BaseModel):
    """Asks for a session without sending a message yet."""

    model_config = ConfigDict(extra="forbid")

    agent: Annotated[str, Field(min_length=1, max_length=63)]
    title: Annotated[str, Field(max_length=200)] = ""
    metadata: Annotated[dict[MetadataKey, MetadataValue], Field(max_length=16)] = {}


class UsageView(BaseModel):
    """Tokens and US dollars; the cost is null where a price is unknown."""

    input_tokens: int
    output_tokens: int
    total_tokens: int
    cost: str | None


class SessionView(BaseModel):
    """A conversation."""

    id: str
    title: str
    principal: str
    agent: str
    package: str
    version: str
    status: str
    autonomy_level: AutonomyLevel
    created_at: datetime
    updated_at: datetime
    expires_at: datetime | None
    turns: int
    message_count: int
    compactions: int
    context_tokens: int
    context_use: ContextUse
    usage: UsageView
    metadata: dict[str, str]

    @classmethod
    def of(cls, session: Session, use: ContextUse) -> "SessionView":
        """Return what clients see of a session whose model's context is so full."""
        return cls(**_session_fields(session, use))


class ToolCallView(BaseModel):
    """A tool call that the model asked for."""

    id: str
    name: str
    arguments: str


class MessageView(BaseModel):
    """A message of a conversation."""

    sequence: int
    turn: int
    role: str
    content: str
    tool_calls: list[ToolCallView]
    tool_call_id: str | None
    tokens: int
    created_at: datetime

    @classmethod
    def of(cls, stored: StoredMessage) -> "MessageView":
        """Return what clients see of a message."""
        message = stored.message
        return cls(
            sequence=stored.sequence,
            turn=stored.turn,
            role=message.role,
            content=message.content,
            tool_calls=[
                ToolCallView(id=call.id, name=call.name, arguments=call.arguments)
                for call in message.tool_calls
            ],
            tool_call_id=message.tool_call_id,
            tokens=stored.tokens,
            created_at=moment(stored.created_at),
        )


class MessagePageView(BaseModel):
    """One page of messages, oldest first."""

    data: list[MessageView]
    next_cursor: str | None
    has_more: bool

    @classmethod
    def of(cls, page: MessagePage) -> "MessagePageView":
        """Return what clients see of a page."""
        return cls(
            data=[MessageView.of(item) for item in page.items],
            next_cursor=page.next_cursor,
            has_more=page.next_cursor is not None,
        )


class SessionWithHistoryView(SessionView):
    """A conversation with one page of its messages."""

    messages: MessagePageView

    @classmethod
    def with_history(
        cls, session: Session, use: ContextUse, page: MessagePage
    ) -> "SessionWithHistoryView":
        """Return a session and a page of its messages."""
        return cls(**_session_fields(session, use), messages=MessagePageView.of(page))


class InterruptView(BaseModel):
    """The running turn is being stopped."""

    status: Literal["interrupting"] = "interrupting"


class SessionPageView(BaseModel):
    """One page of sessions, newest first."""

    data: list[SessionView]
    next_cursor: str | None
    has_more: bool

    @classmethod
    def of(cls, page: SessionPage, use: Callable[[Session], ContextUse]) -> "SessionPageView":
        """Return what clients see of a page; `use` tells how full a context is."""
        return cls(
            data=[SessionView.of(item, use(item)) for item in page.items],
            next_cursor=page.next_cursor,
            has_more=page.next_cursor is not None,
        )


class VersionView(BaseModel):
    """A version of an agent in service and its share of new sessions in percent."""

    version: str
    weight: int


class AgentView(BaseModel):
    """An agent that answers."""

    name: str
    description: str
    package: str
    version: str
    versions: list[VersionView]
    model: str
    tools: list[str]


class AgentListView(BaseModel):
    """All agents."""

    data: list[AgentView]


class ModelView(BaseModel):
    """A name that POST /v1/chat/completions takes as `model`."""

    id: str
    object: Literal["model"] = "model"
    created: int
    owned_by: str


class ModelListView(BaseModel):
    """All models, in OpenAI's shape."""

    object: Literal["list"] = "list"
    data: list[ModelView]


def _session_fields(session: Session, use: ContextUse) -> dict[str, Any]:
    return {
        "id": session.id,
        "title": session.title,
        "principal": session.principal,
        "agent": session.agent,
        "package": session.package,
        "version": session.version,
        "status": session.status,
        "autonomy_level": session.autonomy_level,
        "created_at": moment(session.created_at),
        "updated_at": moment(session.updated_at),
        "expires_at": None if session.expires_at is None else moment(session.expires_at),
        "turns": session.turns,
        "message_count": session.messages,
        "compactions": session.compactions,
        "context_tokens": session.context_tokens,
        "context_use": use,
        "usage": UsageView(
            input_tokens=session.input_tokens,
            output_tokens=session.output_tokens,
            total_tokens=session.input_tokens + session.output_tokens,
            cost=session.cost,
        ),
        "metadata": dict(session.metadata),
    }


class CatalogEntryView(BaseModel):
    """A model that may be called; PROVIDER/* stands for further ones of that provider.

    Prices are US dollars per million tokens, null where unknown. `unavailable` says why the model
    would not answer now.
    """

    id: str
    provider: str
    lane: str
    input_per_million: str | None
    output_per_million: str | None
    context_window: int | None
    max_output: int | None
    capabilities: list[str]
    available: bool
    unavailable: str | None

    @classmethod
    def of(cls, entry: CatalogEntry) -> "CatalogEntryView":
        """Return what clients see of an entry."""
        return cls(
            id=entry.id,
            provider=entry.provider,
            lane=entry.lane,
            input_per_million=_decimal(entry.input_per_million),
            output_per_million=_decimal(entry.output_per_million),
            context_window=entry.context_window,
            max_output=entry.max_output,
            capabilities=list(entry.capabilities),
            available=entry.unavailable is None,
            unavailable=entry.unavailable,
        )


class CatalogView(BaseModel):
    """All models that may be called."""

    object: Literal["list"] = "list"
    data: list[CatalogEntryView]


class ToolView(BaseModel):
    """A tool that agents and POST /v1/tools/run can call."""

    name: str
    description: str
    risk: str
    parameters: dict[str, Any]

    @classmethod
    def of(cls, tool: Tool) -> "ToolView":
        """Return what clients see of a tool."""
        return cls(
            name=tool.name,
            description=tool.description,
            risk=tool.risk,
            parameters=dict(tool.parameters),
        )


class ToolListView(BaseModel):
    """All tools."""

    object: Literal["list"] = "list"
    data: list[ToolView]


def _decimal(amount: Decimal | None) -> str | None:
    return None if amount is None else format(amount, "f")


def to_json(document: Mapping[str, Any]) -> str:
    """Return a document on one line."""
    return orjson.dumps(document).decode()
