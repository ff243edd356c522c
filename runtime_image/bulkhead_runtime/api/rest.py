"""The part of the API that FastAPI serves: sessions, agents, models, the OpenAPI document.

Imported by the first request that needs it. Authentication and common headers have happened
before a request comes here.
"""

from typing import Annotated, Any

from fastapi import FastAPI, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from bulkhead_runtime.api import openapi, views
from bulkhead_runtime.api.authentication import PRINCIPAL
from bulkhead_runtime.api.problems import (
    OPENAI_PATHS,
    PROBLEM_JSON,
    openai_error,
    problem_document,
    problem_headers,
)
from bulkhead_runtime.errors import Problem, unknown_agent, unknown_path
from bulkhead_runtime.kernel.turns import new_session_id
from bulkhead_runtime.routing.versions import current_version
from bulkhead_runtime.runtime import Runtime, runtime_version
from bulkhead_runtime.store.port import NewSession, PoolBounds

Limit = Annotated[int, Query(ge=1, le=200, description="How many at most.")]
Cursor = Annotated[
    str | None, Query(max_length=128, description="`next_cursor` of the page before.")
]


def create_app(runtime: Runtime) -> FastAPI:
    """Return the application over one runtime."""
    app = FastAPI(
        title="Bulkhead runtime",
        version=runtime_version(),
        summary="One organization's agents: talk to them, read their conversations.",
        redoc_url=None,
    )
    _add_sessions(app, runtime)
    _add_catalogue(app, runtime)
    app.add_exception_handler(Problem, _answer_problem)
    app.add_exception_handler(RequestValidationError, _answer_invalid)
    app.add_exception_handler(HTTPException, _answer_unrouted)
    openapi.extend(app)
    return app


def _add_sessions(app: FastAPI, runtime: Runtime) -> None:
    @app.post("/v1/sessions", status_code=201, tags=["sessions"])
    async def create_session(body: views.NewSessionBody) -> views.SessionView:
        """Begin a conversation without a message."""
        configuration = runtime.holder.require()
        version, _ = runtime.versions.for_new_session(configuration, body.agent)
        new = NewSession(
            new_session_id(),
            PRINCIPAL,
            body.agent,
            version.package,
            version.version,
            body.metadata,
        )
        return views.SessionView.of(await runtime.store.create(new, _bounds(runtime)))

    @app.get("/v1/sessions", tags=["sessions"])
    async def list_sessions(limit: Limit = 50, cursor: Cursor = None) -> views.SessionPageView:
        """List conversations, newest first."""
        page = await runtime.store.sessions(PRINCIPAL, _bounds(runtime), limit=limit, cursor=cursor)
        return views.SessionPageView.of(page)

    @app.get("/v1/sessions/{session_id}", tags=["sessions"])
    async def get_session(
        session_id: str, limit: Limit = 50, cursor: Cursor = None
    ) -> views.SessionWithHistoryView:
        """Return a conversation with one page of its messages."""
        session = await runtime.store.session(session_id, PRINCIPAL, _bounds(runtime))
        page = await runtime.store.messages(
            session_id, PRINCIPAL, _bounds(runtime), limit=limit, cursor=cursor
        )
        return views.SessionWithHistoryView.with_history(session, page)

    @app.delete("/v1/sessions/{session_id}", status_code=204, tags=["sessions"])
    async def delete_session(session_id: str) -> None:
        """Remove a conversation with its messages."""
        await runtime.store.delete(session_id, PRINCIPAL)

    @app.get("/v1/sessions/{session_id}/messages", tags=["sessions"])
    async def list_messages(
        session_id: str, limit: Limit = 50, cursor: Cursor = None
    ) -> views.MessagePageView:
        """List a conversation's messages, oldest first."""
        page = await runtime.store.messages(
            session_id, PRINCIPAL, _bounds(runtime), limit=limit, cursor=cursor
        )
        return views.MessagePageView.of(page)


def _add_catalogue(app: FastAPI, runtime: Runtime) -> None:
    @app.get("/v1/agents", tags=["agents"])
    async def list_agents() -> views.AgentListView:
        """List the agents that answer."""
        serving = runtime.holder.require().serving
        return views.AgentListView(data=[_agent(runtime, name) for name in serving])

    @app.get("/v1/agents/{agent}", tags=["agents"])
    async def get_agent(agent: str) -> views.AgentView:
        """Return one agent."""
        if agent not in runtime.holder.require().serving:
            raise unknown_agent(agent)
        return _agent(runtime, agent)

    @app.get("/v1/models", tags=["openai"])
    async def list_models() -> views.ModelListView:
        """List agents and models in OpenAI's shape."""
        organization = runtime.settings.organization
        agents = [
            views.ModelView(id=name, created=0, owned_by=organization)
            for name in runtime.holder.require().serving
        ]
        models = [
            views.ModelView(id=model.id, created=0, owned_by=model.provider)
            for model in runtime.router.list_models()
        ]
        return views.ModelListView(data=agents + models)


def _agent(runtime: Runtime, name: str) -> views.AgentView:
    configuration = runtime.holder.require()
    version, agent = current_version(configuration, name)
    return views.AgentView(
        name=name,
        description=agent.description,
        package=version.package,
        version=version.version,
        versions=[
            views.VersionView(version=candidate.version, weight=candidate.weight)
            for candidate in configuration.serving[name]
        ],
        model=configuration.model_of(agent),
        tools=list(agent.tools),
    )


def _bounds(runtime: Runtime) -> PoolBounds:
    return PoolBounds.of(runtime.holder.require().source.pool)


async def _answer_problem(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, Problem)
    return _response(request, error)


async def _answer_invalid(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    first: dict[str, Any] = error.errors()[0]
    if first["type"] == "json_invalid":
        return _response(request, Problem(400, "malformed_json", "The body is not valid JSON."))
    field = ".".join(str(part) for part in first["loc"][1:])[:64] or "body"
    message = f"`{field}`: {first['msg']}."[:300]
    return _response(request, Problem(422, "invalid_request", message, field=field))


async def _answer_unrouted(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    match error.status_code:
        case 405:
            problem = Problem(405, "method_not_allowed", "This path does not take this method.")
        case 400:
            problem = Problem(400, "malformed_json", "The body could not be read as JSON.")
        case _:
            problem = unknown_path()
    return _response(request, problem)


def _response(request: Request, problem: Problem) -> JSONResponse:
    openai = request.scope["path"].startswith(OPENAI_PATHS)
    document = (
        openai_error(problem) if openai else problem_document(problem, request.scope["trace"])
    )
    return JSONResponse(
        document,
        status_code=problem.status,
        headers={name.decode(): value.decode() for name, value in problem_headers(problem)},
        media_type="application/json" if openai else PROBLEM_JSON.decode(),
    )
