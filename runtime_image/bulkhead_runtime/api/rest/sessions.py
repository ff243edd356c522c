"""Sessions: begin, list, read, export, delete; each caller's own, or all with `sessions:any`."""

from collections.abc import AsyncIterator
from typing import Any

from fastapi import APIRouter
from fastapi.responses import StreamingResponse

from bulkhead_runtime.api import scopes
from bulkhead_runtime.api.rest import views
from bulkhead_runtime.api.rest.announce import announce
from bulkhead_runtime.api.rest.parameters import Asked, Caller, Cursor, Limit, SessionId, needs
from bulkhead_runtime.kernel.context import Principal
from bulkhead_runtime.kernel.executions import new_session_id
from bulkhead_runtime.runtime import Runtime
from bulkhead_runtime.store.port import NewSession, PoolBounds, Session

_READ = [needs(scopes.SESSIONS_READ)]
_WRITE = [needs(scopes.SESSIONS_WRITE)]
_EXPORT_PAGE = 50
"""Messages that an export holds at once; one can be half a megabyte."""

_NDJSON = "application/x-ndjson"


def routes(runtime: Runtime) -> APIRouter:
    """Return the routes over one runtime."""
    router = APIRouter(prefix="/v1/sessions", tags=["sessions"])
    _add_writing(router, runtime)
    _add_reading(router, runtime)
    return router


def _add_writing(router: APIRouter, runtime: Runtime) -> None:
    @router.post("", status_code=201, dependencies=_WRITE)
    async def create_session(body: views.NewSessionBody, exchange: Asked) -> views.SessionView:
        """Begin a conversation without a message."""
        configuration = runtime.holder.require()
        version, _ = runtime.versions.for_new_session(configuration, body.agent)
        new = NewSession(
            new_session_id(),
            exchange.principal.name,
            body.agent,
            version.package,
            version.version,
            body.metadata,
            body.title,
        )
        session = await runtime.store.create(new, _bounds(runtime))
        data = {"agent": session.agent, "version": session.version}
        announce(runtime, exchange, "session.created", session_id=session.id, data=data)
        return views.SessionView.of(session, runtime.context_use(session))

    @router.post("/{session_id}/interrupt", status_code=202, dependencies=_WRITE)
    async def interrupt_session(session_id: SessionId, exchange: Asked) -> views.InterruptView:
        """Stop the turn that runs; its caller is told, and nothing of it is remembered."""
        await runtime.turns.interrupt(session_id, scopes.owner(exchange.principal))
        announce(runtime, exchange, "session.interrupted", session_id=session_id)
        return views.InterruptView()

    @router.delete("/{session_id}", status_code=204, dependencies=_WRITE)
    async def delete_session(session_id: SessionId, exchange: Asked) -> None:
        """Remove a conversation and end its turn; what it used stays in the ledger."""
        await runtime.store.delete(session_id, scopes.owner(exchange.principal))
        announce(runtime, exchange, "session.archived", session_id=session_id)


def _add_reading(router: APIRouter, runtime: Runtime) -> None:
    @router.get("", dependencies=_READ)
    async def list_sessions(
        principal: Caller, limit: Limit = 50, cursor: Cursor = None
    ) -> views.SessionPageView:
        """List conversations, newest first."""
        page = await runtime.store.sessions(
            scopes.owner(principal), _bounds(runtime), limit=limit, cursor=cursor
        )
        return views.SessionPageView.of(page, runtime.context_use)

    @router.get("/{session_id}", dependencies=_READ)
    async def get_session(
        session_id: SessionId, principal: Caller, limit: Limit = 50, cursor: Cursor = None
    ) -> views.SessionWithHistoryView:
        """Return a conversation with one page of its messages."""
        owner, bounds = scopes.owner(principal), _bounds(runtime)
        session = await runtime.store.session(session_id, owner, bounds)
        page = await runtime.store.messages(session_id, owner, bounds, limit=limit, cursor=cursor)
        return views.SessionWithHistoryView.with_history(
            session, runtime.context_use(session), page
        )

    @router.get("/{session_id}/messages", dependencies=_READ)
    async def list_messages(
        session_id: SessionId, principal: Caller, limit: Limit = 50, cursor: Cursor = None
    ) -> views.MessagePageView:
        """List a conversation's messages, oldest first."""
        page = await runtime.store.messages(
            session_id, scopes.owner(principal), _bounds(runtime), limit=limit, cursor=cursor
        )
        return views.MessagePageView.of(page)

    @router.get(
        "/{session_id}/export",
        dependencies=_READ,
        response_class=StreamingResponse,
        responses={200: {"content": {_NDJSON: {}}, "description": "One JSON document per line"}},
    )
    async def export_session(session_id: SessionId, exchange: Asked) -> StreamingResponse:
        """Return a whole conversation, a JSON document per line: the session, then each message."""
        principal = exchange.principal
        session = await runtime.store.session(session_id, scopes.owner(principal), _bounds(runtime))
        announce(runtime, exchange, "session.exported", session_id=session_id)
        return StreamingResponse(_lines(runtime, session, principal), media_type=_NDJSON)


async def _lines(runtime: Runtime, session: Session, principal: Principal) -> AsyncIterator[str]:
    shown = views.SessionView.of(session, runtime.context_use(session))
    yield _line(session=shown.model_dump(mode="json"))
    cursor = None
    while True:
        page = await runtime.store.messages(
            session.id,
            scopes.owner(principal),
            _bounds(runtime),
            limit=_EXPORT_PAGE,
            cursor=cursor,
        )
        for stored in page.items:
            yield _line(message=views.MessageView.of(stored).model_dump(mode="json"))
        cursor = page.next_cursor
        if cursor is None:
            return


def _line(**document: Any) -> str:
    return views.to_json(document) + "\n"


def _bounds(runtime: Runtime) -> PoolBounds:
    return PoolBounds.configured(runtime.holder.require().source)
