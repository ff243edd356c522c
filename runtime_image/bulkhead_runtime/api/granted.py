"""POST /package/v1/chat/completions: models for images of packages, by the token of their call."""

from functools import partial
from typing import Final

from bulkhead_runtime.api import answers
from bulkhead_runtime.api.answers import Ending, Listener, model_answer
from bulkhead_runtime.api.authentication import shown_token
from bulkhead_runtime.api.chat import model_request
from bulkhead_runtime.api.chat_body import conversation, read
from bulkhead_runtime.api.chat_format import ChatFormat
from bulkhead_runtime.api.exchange import Exchange
from bulkhead_runtime.errors import Problem
from bulkhead_runtime.kernel.grants import PATH as PREFIX
from bulkhead_runtime.kernel.requests import Caller
from bulkhead_runtime.runtime import Runtime

PATH: Final = f"{PREFIX}/chat/completions"


async def complete(exchange: Exchange, runtime: Runtime) -> None:
    """Answer one chat completion of a model on the account of the image's execution."""
    exchange.route = PATH
    grant = runtime.grants.find((shown_token(exchange) or b"").decode(errors="replace"))
    exchange.principal = grant.principal
    raw = await exchange.read_json(runtime.holder.require().max_body_bytes)
    body = read(raw)
    if "/" not in body.model:
        raise Problem(
            404,
            "unknown_model",
            f"`model` is {body.model[:64]!r}, but images call models as PROVIDER/MODEL.",
            field="model",
        )
    request = model_request(body, conversation(body))

    async def work(listener: Listener, ending: Ending, _: Caller) -> None:
        listener.asking()
        await model_answer(listener, ending, partial(grant.call, request))

    answer = ChatFormat(body.model, include_usage=body.include_usage)
    await answers.send(exchange, raw, answer, work, stream=body.stream is True)
