"""Chat completions by FastAPI and litellm, as litellm's documentation puts them together."""

import os
from typing import Any

# Read when litellm is imported: no price table from the network.
os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"

import litellm
from fastapi import Depends, FastAPI
from fastapi.responses import StreamingResponse

from tests.performance.references.chat import ChatRequest, as_events
from tests.performance.references.settings import UPSTREAM, UPSTREAM_KEY, authorized

litellm.telemetry = False
app = FastAPI()

OFFLINE = "offline/"
"""Models that litellm answers itself, without any provider, by its own mock_response."""


def _destination(model: str) -> dict[str, Any]:
    if model.startswith(OFFLINE):
        return {"model": "openai/offline", "mock_response": "You said: Tell me a story."}
    return {"model": f"openai/{model}", "api_base": UPSTREAM, "api_key": UPSTREAM_KEY}


@app.post("/v1/chat/completions", dependencies=[Depends(authorized)], response_model=None)
async def chat(request: ChatRequest) -> StreamingResponse | dict[str, Any]:
    """Answer a chat completion, streamed or whole."""
    destination = _destination(request.model)
    conversation = request.conversation()
    if not request.stream:
        answer = await litellm.acompletion(messages=conversation, **destination)
        whole: dict[str, Any] = answer.model_dump(exclude_none=True)
        return whole
    chunks = await litellm.acompletion(
        messages=conversation,
        stream=True,
        stream_options={"include_usage": True},
        **destination,
    )
    return StreamingResponse(as_events(chunks), media_type="text/event-stream")
