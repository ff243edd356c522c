"""Durable turns by FastAPI and litellm: session, agent loop with a tool, store."""

import json
import os
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

# Read when litellm is imported: no price table from the network.
os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"

import litellm
from fastapi import Depends, FastAPI, HTTPException
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import StreamingResponse
from pydantic import BaseModel

from tests.performance.references.settings import UPSTREAM, UPSTREAM_KEY, authorized
from tests.performance.references.turn_store import TurnStore

litellm.telemetry = False
app = FastAPI()
store = TurnStore(Path(os.environ["DATABASE"]))

MODEL = os.environ["MODEL"]
INSTRUCTIONS = os.environ["INSTRUCTIONS"]
MAX_ITERATIONS = 5
TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "current_time",
            "description": "Tells the current time in UTC.",
            "parameters": {"type": "object", "properties": {}},
        },
    }
]


class Turn(BaseModel):
    """What a tenant says."""

    message: str
    session_id: str | None = None


class Answer(BaseModel):
    """What the agent says."""

    session_id: str
    status: str
    answer: str
    total_tokens: int


@app.post("/v1/agents/{agent}/execute", dependencies=[Depends(authorized)])
async def execute(agent: str, turn: Turn) -> Answer:
    """Run one turn and store it before answering."""
    if agent != "assistant":
        raise HTTPException(status_code=404, detail="no such agent")
    session = turn.session_id or uuid4().hex
    history = await run_in_threadpool(store.tail, session)
    question = {"role": "user", "content": turn.message}
    answer, tokens = await _run([{"role": "system", "content": INSTRUCTIONS}, *history, question])
    await run_in_threadpool(store.append, session, turn.message, answer, tokens)
    return Answer(session_id=session, status="completed", answer=answer, total_tokens=tokens)


@app.post("/v1/agents/{agent}/execute/stream", dependencies=[Depends(authorized)])
async def stream(agent: str, turn: Turn) -> StreamingResponse:
    """Run one turn, its answer streamed as it comes, and store it before its end is told."""
    if agent != "assistant":
        raise HTTPException(status_code=404, detail="no such agent")
    session = turn.session_id or uuid4().hex
    return StreamingResponse(_events(session, turn.message), media_type="text/event-stream")


async def _events(session: str, message: str) -> AsyncIterator[str]:
    history = await run_in_threadpool(store.tail, session)
    chunks = await litellm.acompletion(
        model=f"openai/{MODEL}",
        messages=[
            {"role": "system", "content": INSTRUCTIONS},
            *history,
            {"role": "user", "content": message},
        ],
        tools=TOOLS,
        api_base=UPSTREAM,
        api_key=UPSTREAM_KEY,
        stream=True,
        stream_options={"include_usage": True},
        _skip_mcp_handler=True,
    )
    answer, tokens = [], 0
    async for chunk in chunks:
        if chunk.choices and (text := chunk.choices[0].delta.content):
            answer.append(text)
            yield _event("token", {"text": text})
        if (usage := getattr(chunk, "usage", None)) is not None:
            tokens = usage.total_tokens
    await run_in_threadpool(store.append, session, message, "".join(answer), tokens)
    yield _event("done", {"session_id": session, "total_tokens": tokens})


def _event(name: str, data: dict[str, Any]) -> str:
    return f"event: {name}\ndata: {json.dumps(data)}\n\n"


async def _run(messages: list[dict[str, Any]]) -> tuple[str, int]:
    tokens = 0
    for _ in range(MAX_ITERATIONS):
        reply = await litellm.acompletion(
            model=f"openai/{MODEL}",
            messages=messages,
            tools=TOOLS,
            api_base=UPSTREAM,
            api_key=UPSTREAM_KEY,
            # With tools litellm otherwise imports its gateway for MCP, whose package is not there.
            _skip_mcp_handler=True,
        )
        tokens += reply.usage.total_tokens
        said = reply.choices[0].message
        if not said.tool_calls:
            return said.content or "", tokens
        messages.append(said.model_dump(exclude_none=True))
        messages.extend(
            {"role": "tool", "tool_call_id": call.id, "content": datetime.now(UTC).isoformat()}
            for call in said.tool_calls
        )
    raise HTTPException(status_code=500, detail="the agent did not come to an end")
