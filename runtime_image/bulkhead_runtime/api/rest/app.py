"""The FastAPI application: routes by concern, problems in the shape of the API that was called.

Authentication, bounds of the body and common headers have happened before a request comes here.
"""

from typing import Any, Final

from fastapi import Depends, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.routing import BaseRoute, Match

from bulkhead_runtime.api import openapi
from bulkhead_runtime.api.problems import (
    OPENAI_PATHS,
    PROBLEM_JSON,
    openai_error,
    problem_document,
    problem_headers,
)
from bulkhead_runtime.api.rest import catalogue, keys, metrics, policies, sessions, usage
from bulkhead_runtime.api.rest.parameters import refuse_unknown_parameters
from bulkhead_runtime.api.stored_keys import StoredKeys
from bulkhead_runtime.api.types import Scope
from bulkhead_runtime.errors import Problem, unknown_path
from bulkhead_runtime.runtime import Runtime
from bulkhead_runtime.standings import runtime_version

_METHODS: Final = ("DELETE", "GET", "PATCH", "POST", "PUT")


def create_app(runtime: Runtime, stored_keys: StoredKeys) -> FastAPI:
    """Return the application over one runtime."""
    app = FastAPI(
        title="Bulkhead runtime",
        version=runtime_version(),
        summary="One organization's agents: talk to them, read their conversations.",
        # Their pages load scripts from elsewhere, into the origin where tenants type their keys.
        docs_url=None,
        redoc_url=None,
        dependencies=[Depends(refuse_unknown_parameters)],
    )
    app.include_router(sessions.routes(runtime))
    app.include_router(catalogue.routes(runtime))
    app.include_router(usage.routes(runtime))
    app.include_router(metrics.routes(runtime))
    app.include_router(policies.routes(runtime))
    app.include_router(keys.routes(runtime, stored_keys))
    app.add_exception_handler(Problem, _answer_problem)
    app.add_exception_handler(RequestValidationError, _answer_invalid)
    app.add_exception_handler(HTTPException, _answer_unrouted)
    openapi.extend(app)
    return app


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
            return _response(request, problem, {"allow": _methods(request)})
        case 400:
            problem = Problem(400, "malformed_json", "The body could not be read as JSON.")
        case _:
            problem = unknown_path()
    return _response(request, problem)


def _methods(request: Request) -> str:
    """Return the methods of all routes of a path; the framework tells those of the first."""
    asked = [{**request.scope, "method": method} for method in _METHODS]
    routes = request.app.router.routes
    taken = (scope["method"] for scope in asked if any(_takes(one, scope) for one in routes))
    return ", ".join(taken)


def _takes(route: BaseRoute, scope: Scope) -> bool:
    return route.matches(scope)[0] is Match.FULL


def _response(
    request: Request,
    problem: Problem,
    headers: Any = (),
) -> JSONResponse:
    openai = request.scope["path"].startswith(OPENAI_PATHS)
    trace = request.scope["exchange"].trace
    own = {name.decode(): value.decode() for name, value in problem_headers(problem)}
    return JSONResponse(
        openai_error(problem) if openai else problem_document(problem, trace),
        status_code=problem.status,
        headers={**dict(headers), **own},
        media_type="application/json" if openai else PROBLEM_JSON.decode(),
    )
