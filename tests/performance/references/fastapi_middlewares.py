"""What a service commonly puts in front of its work: three http middlewares on FastAPI."""

import time
from collections import Counter, deque
from collections.abc import Awaitable, Callable
from typing import Annotated, Any
from uuid import uuid4

from fastapi import Depends, FastAPI, Request, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel

from tests.performance.references.settings import authorized

LIMIT = 1_000_000
WINDOW_SECONDS = 60

app = FastAPI()
Next = Callable[[Request], Awaitable[Response]]
_arrivals: deque[float] = deque()
_answered: Counter[tuple[str, int]] = Counter()


class ToolRun(BaseModel):
    """A call of a tool."""

    tool: str
    arguments: dict[str, Any] = {}


@app.middleware("http")
async def limit_rate(request: Request, proceed: Next) -> Response:
    """Refuse what goes beyond the rate of the last minute."""
    now = time.monotonic()
    while _arrivals and _arrivals[0] < now - WINDOW_SECONDS:
        _arrivals.popleft()
    if len(_arrivals) >= LIMIT:
        return JSONResponse({"detail": "too many requests"}, status_code=429)
    _arrivals.append(now)
    return await proceed(request)


@app.middleware("http")
async def measure(request: Request, proceed: Next) -> Response:
    """Count answers by path and status, and tell how long they took."""
    begun = time.perf_counter()
    response = await proceed(request)
    _answered[request.url.path, response.status_code] += 1
    response.headers["server-timing"] = f"app;dur={(time.perf_counter() - begun) * 1000:.1f}"
    return response


@app.middleware("http")
async def identify(request: Request, proceed: Next) -> Response:
    """Give every request an id."""
    response = await proceed(request)
    response.headers["x-request-id"] = request.headers.get("x-request-id") or uuid4().hex
    return response


@app.post("/v1/tools/run")
async def run_tool(body: ToolRun, _: Annotated[None, Depends(authorized)]) -> dict[str, Any]:
    """Answer as the tool does."""
    return {"ok": True, "data": {"time": "2026-01-01T00:00:00Z", "tool": body.tool}}
