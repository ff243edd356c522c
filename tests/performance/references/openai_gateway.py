"""Chat completions by FastAPI and the provider's own SDK: what a careful team writes by hand."""

from typing import Any, cast

from fastapi import Depends, FastAPI
from fastapi.responses import StreamingResponse
from openai import AsyncOpenAI

from tests.performance.references.chat import ChatRequest, as_events
from tests.performance.references.settings import UPSTREAM, UPSTREAM_KEY, authorized

app = FastAPI()
client = AsyncOpenAI(base_url=UPSTREAM, api_key=UPSTREAM_KEY, max_retries=2)


@app.post("/v1/chat/completions", dependencies=[Depends(authorized)], response_model=None)
async def chat(request: ChatRequest) -> StreamingResponse | dict[str, Any]:
    """Answer a chat completion, streamed or whole."""
    conversation = cast("Any", request.conversation())
    if not request.stream:
        answer = await client.chat.completions.create(model=request.model, messages=conversation)
        return answer.model_dump(exclude_none=True)
    chunks = await client.chat.completions.create(
        model=request.model,
        messages=conversation,
        stream=True,
        stream_options={"include_usage": True},
    )
    return StreamingResponse(as_events(chunks), media_type="text/event-stream")
