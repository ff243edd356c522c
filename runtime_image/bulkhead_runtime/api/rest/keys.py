"""API keys of the organization: make one and see its token once, list, revoke."""

from datetime import UTC, datetime
from typing import Annotated, Literal

from fastapi import APIRouter, Path
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from bulkhead_api.v1alpha1.authentication import Scope
from bulkhead_runtime.api import scopes
from bulkhead_runtime.api.rest.announce import announce
from bulkhead_runtime.api.rest.parameters import Asked, moment, needs
from bulkhead_runtime.api.stored_keys import StoredKeys
from bulkhead_runtime.errors import Problem
from bulkhead_runtime.kernel.context import Principal
from bulkhead_runtime.runtime import Runtime
from bulkhead_runtime.store.records import StoredKey

_NAME = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"
KeyName = Annotated[str, Path(min_length=1, max_length=63, pattern=_NAME)]


class NewKeyBody(BaseModel):
    """Asks for a key; its scopes must be among the caller's."""

    model_config = ConfigDict(extra="forbid")

    name: Annotated[str, Field(min_length=1, max_length=63, pattern=_NAME)]
    scopes: Annotated[list[Scope], Field(min_length=1, max_length=11)]
    principal: Annotated[
        str | None,
        Field(
            min_length=1,
            max_length=128,
            pattern=r"^[!-~]+$",
            description="Whose sessions the key's are; the key's name when absent.",
        ),
    ] = None
    expires_at: AwareDatetime | None = None


class KeyView(BaseModel):
    """A key, without its token."""

    name: str
    principal: str
    scopes: list[str]
    created_at: datetime
    expires_at: datetime | None


class NewKeyView(KeyView):
    """A key just made, with its token, which is shown this one time."""

    token: str


class KeyListView(BaseModel):
    """All keys that were made through the API."""

    object: Literal["list"] = "list"
    data: list[KeyView]


def routes(runtime: Runtime, keys: StoredKeys) -> APIRouter:
    """Return the routes over one runtime."""
    router = APIRouter(
        prefix="/v1/api-keys", tags=["api-keys"], dependencies=[needs(scopes.KEYS_WRITE)]
    )

    @router.post("", status_code=201)
    async def create_key(body: NewKeyBody, exchange: Asked) -> NewKeyView:
        """Make a key; its token is in this answer and nowhere else."""
        _refuse_more(exchange.principal, body)
        expires_at = _milliseconds(body.expires_at)
        stored, token = await keys.make(
            body.name, body.principal or body.name, frozenset(body.scopes), expires_at
        )
        data = {"name": stored.name, "scopes": list(stored.scopes)}
        announce(runtime, exchange, "key.created", data=data)
        return NewKeyView(**_fields(stored), token=token)

    @router.get("")
    async def list_keys() -> KeyListView:
        """List the keys that were made here, without their tokens."""
        return KeyListView(data=[KeyView(**_fields(key)) for key in await keys.list()])

    @router.delete("/{name}", status_code=204)
    async def revoke_key(name: KeyName, exchange: Asked) -> None:
        """Remove a key; every replica refuses it within ten seconds."""
        await keys.revoke(name)
        announce(runtime, exchange, "key.revoked", data={"name": name})

    return router


def _refuse_more(principal: Principal, body: NewKeyBody) -> None:
    """Raise a 403 `Problem` for a key that could do more than its maker or act for others."""
    beyond = next((scope for scope in body.scopes if not principal.may(scope)), None)
    if beyond is not None:
        raise Problem(
            403,
            "missing_scope",
            f"A key cannot have the scope `{beyond}`, which its maker does not have.",
            field="scopes",
        )
    other = (body.principal or body.name) != principal.name
    if other and scopes.owner(principal) is not None:
        raise Problem(
            403,
            "missing_scope",
            "A key for another principal needs the scope `sessions:any`. Set `principal` to "
            f"{principal.name!r}.",
            field="principal",
        )


def _milliseconds(expires_at: datetime | None) -> int | None:
    if expires_at is None:
        return None
    if expires_at <= datetime.now(UTC):
        raise Problem(
            422, "invalid_request", "`expires_at` must be in the future.", field="expires_at"
        )
    return int(expires_at.timestamp() * 1000)


def _fields(key: StoredKey) -> dict[str, object]:
    return {
        "name": key.name,
        "principal": key.principal,
        "scopes": list(key.scopes),
        "created_at": moment(key.created_at),
        "expires_at": None if key.expires_at is None else moment(key.expires_at),
    }
