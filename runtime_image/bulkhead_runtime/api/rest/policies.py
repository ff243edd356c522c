"""Policies that are added beside the organization's own; they narrow and never widen."""

from datetime import datetime
from typing import Annotated, Any, Literal

import orjson
from fastapi import APIRouter, Path
from pydantic import BaseModel

from bulkhead_api.v1alpha1.policies import NamedModelPolicy, NamedToolPolicy
from bulkhead_runtime.api import scopes
from bulkhead_runtime.api.rest.parameters import Caller, moment, needs
from bulkhead_runtime.policy.added import PolicyKind
from bulkhead_runtime.runtime import Runtime
from bulkhead_runtime.store.records import StoredPolicy

PolicyName = Annotated[str, Path(min_length=1, max_length=63, pattern=r"^[-a-z0-9]+$")]


class PolicyView(BaseModel):
    """A policy that was added here."""

    name: str
    rules: list[dict[str, Any]]
    added_by: str
    created_at: datetime

    @classmethod
    def of(cls, stored: StoredPolicy) -> "PolicyView":
        """Return what clients see of a policy."""
        return cls(
            name=stored.name,
            rules=orjson.loads(stored.document)["rules"],
            added_by=stored.principal,
            created_at=moment(stored.created_at),
        )


class PolicyListView(BaseModel):
    """The organization's own policy, from its resource, and those that were added here."""

    object: Literal["list"] = "list"
    organization: dict[str, Any]
    data: list[PolicyView]


def routes(runtime: Runtime) -> APIRouter:
    """Return the routes over one runtime."""
    router = APIRouter(prefix="/v1", tags=["policies"])
    write = [needs(scopes.POLICIES_WRITE)]

    @router.get("/tool-policies", dependencies=write)
    async def list_tool_policies() -> PolicyListView:
        """List the policies about tools."""
        own = runtime.holder.require().source.tools.policy
        return await _list(runtime, "tool", own)

    @router.post("/tool-policies", status_code=201, dependencies=write)
    async def put_tool_policy(body: NamedToolPolicy, principal: Caller) -> PolicyView:
        """Add a policy about tools or replace the one of its name; it is in force at once."""
        return await _put(runtime, "tool", body, principal.name)

    @router.delete("/tool-policies/{name}", status_code=204, dependencies=write)
    async def delete_tool_policy(name: PolicyName, principal: Caller) -> None:
        """Remove a policy about tools that was added here."""
        await runtime.policies.remove("tool", name, principal.name)

    @router.get("/model-policies", dependencies=write)
    async def list_model_policies() -> PolicyListView:
        """List the policies about models."""
        own = runtime.holder.require().source.models.policy
        return await _list(runtime, "model", own)

    @router.post("/model-policies", status_code=201, dependencies=write)
    async def put_model_policy(body: NamedModelPolicy, principal: Caller) -> PolicyView:
        """Add a policy about models or replace the one of its name; it is in force at once."""
        return await _put(runtime, "model", body, principal.name)

    @router.delete("/model-policies/{name}", status_code=204, dependencies=write)
    async def delete_model_policy(name: PolicyName, principal: Caller) -> None:
        """Remove a policy about models that was added here."""
        await runtime.policies.remove("model", name, principal.name)

    return router


async def _list(runtime: Runtime, kind: PolicyKind, own: BaseModel) -> PolicyListView:
    stored = await runtime.policies.list(kind)
    return PolicyListView(
        organization=own.model_dump(mode="json", by_alias=True),
        data=[PolicyView.of(policy) for policy in stored],
    )


async def _put(runtime: Runtime, kind: PolicyKind, body: BaseModel, principal: str) -> PolicyView:
    document = body.model_dump_json(by_alias=True, exclude_defaults=True)
    return PolicyView.of(await runtime.policies.put(kind, document, principal))
