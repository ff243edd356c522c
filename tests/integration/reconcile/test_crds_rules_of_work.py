"""Rules about budgets, policies, tools, stores and sessions, at a real API server."""

from typing import Any

import pytest

from tests.integration.reconcile.conftest import World, organization
from tests.integration.reconcile.test_crds_bounds import dry_run
from tests.support.api_observer import Object, path_of

PROVIDER = {"name": "hosted", "baseURL": "https://api.example.com/v1"}
LITELLM = {"name": "hosted", "type": "LiteLLM"}
POSTGRES = {"secretRef": {"name": "database"}}
REDIS = {"secretRef": {"name": "cache"}}


def tool_rule(**condition: Any) -> Object:
    rule = {"name": "bounded", "effect": "Allow", "arguments": [{"path": "/amount", **condition}]}
    return {"tools": {"policy": {"rules": [rule]}}}


def package(**tool: Any) -> Object:
    one = {"name": "look_up", "description": "Looks up.", "url": "https://example.com/{id}"}
    return {"version": "1.0.0", "agents": [{"name": "helper"}], "tools": [{**one, **tool}]}


ACCEPTED = [
    ("one replica on a volume", {"replicas": 1}),
    ("replicas on PostgreSQL", {"replicas": 32, "storage": {"postgres": POSTGRES}}),
    ("Redis before PostgreSQL", {"storage": {"postgres": POSTGRES, "redis": REDIS}}),
    ("a cheaper model that is embedded", {"budgets": {"cheaperModel": "offline/echo"}}),
    (
        "a cheaper model of a provider",
        {
            "models": {"providers": [PROVIDER]},
            "budgets": {
                "cheaperModel": "hosted/tiny",
                "steps": [{"percent": 80, "action": "CheaperModel"}],
            },
        },
    ),
    ("steps that need nothing", {"budgets": {"steps": [{"percent": 50, "action": "Warn"}]}}),
    ("an amount in cents", {"budgets": {"day": {"cost": "0.05"}}}),
    ("fallbacks of providers", {"models": {"providers": [PROVIDER], "fallbacks": ["hosted/b"]}}),
    ("a number as bound", tool_rule(operator="LessOrEqual", values=["-12.5"])),
    ("several values", tool_rule(operator="In", values=["a", "b"])),
    ("an argument that must be there", tool_rule(operator="Exists")),
    (
        "moderation by a provider",
        {"models": {"providers": [PROVIDER]}, "safety": {"moderation": {"provider": "hosted"}}},
    ),
    (
        "an issuer inside the cluster",
        {
            "authentication": {
                "oidc": [{"name": "a", "issuer": "http://dex.auth.svc:5556/dex", "audience": "b"}]
            }
        },
    ),
    ("cleanup to just below its start", {"sessions": {"cleanup": {"targetPercent": 89}}}),
]

REFUSED = [
    (
        "replicas on a volume",
        {"replicas": 2},
        ["spec.replicas", "must be 1 without `spec.storage.postgres`"],
    ),
    (
        "Redis alone",
        {"storage": {"redis": REDIS}},
        ["spec.storage.redis", "must come with `spec.storage.postgres`"],
    ),
    (
        "a step without its model",
        {"budgets": {"steps": [{"percent": 80, "action": "CheaperModel"}]}},
        ["spec.budgets.cheaperModel", "must be given"],
    ),
    (
        "two steps at one percentage",
        {
            "budgets": {
                "steps": [{"percent": 80, "action": "Warn"}, {"percent": 80, "action": "Throttle"}]
            }
        },
        ["spec.budgets.steps", "Duplicate value"],
    ),
    (
        "a cheaper model of nobody",
        {"budgets": {"cheaperModel": "nobody/tiny"}},
        ["spec.budgets.cheaperModel", "`spec.models.providers`"],
    ),
    (
        "money as a float of many places",
        {"budgets": {"day": {"cost": "1.0000001"}}},
        ["spec.budgets.day.cost"],
    ),
    ("money as a number", {"budgets": {"day": {"cost": 1.5}}}, ["spec.budgets.day.cost", "string"]),
    (
        "a fallback of nobody",
        {"models": {"fallbacks": ["nobody/b"]}},
        ["spec.models.fallbacks", "must each name one of `spec.models.providers`"],
    ),
    (
        "a summary by a model of nobody",
        {"sessions": {"compaction": {"model": "nobody/b"}}},
        ["spec.sessions.compaction.model", "`spec.models.providers`"],
    ),
    (
        "cleanup that frees nothing",
        {"sessions": {"cleanup": {"startPercent": 60}}},
        ["spec.sessions.cleanup.targetPercent", "must be less than"],
    ),
    (
        "moderation by nobody",
        {"safety": {"moderation": {"provider": "nobody"}}},
        ["spec.safety.moderation.provider", "of type 'OpenAICompatible'"],
    ),
    (
        "moderation by a provider of another type",
        {"models": {"providers": [LITELLM]}, "safety": {"moderation": {"provider": "hosted"}}},
        ["spec.safety.moderation.provider", "of type 'OpenAICompatible'"],
    ),
    (
        "a comparison with nothing",
        tool_rule(operator="Equals"),
        ["spec.tools.policy.rules[0].arguments[0].values", "at least one value"],
    ),
    (
        "existence of a value",
        tool_rule(operator="Exists", values=["1"]),
        ["spec.tools.policy.rules[0].arguments[0].values", "must be empty"],
    ),
    (
        "equality with two values",
        tool_rule(operator="Equals", values=["1", "2"]),
        ["spec.tools.policy.rules[0].arguments[0].values", "use 'In'"],
    ),
    (
        "a bound that is no number",
        tool_rule(operator="LessOrEqual", values=["many"]),
        ["spec.tools.policy.rules[0].arguments[0].values", "must be one number"],
    ),
    (
        "two bounds in one",
        tool_rule(operator="GreaterOrEqual", values=["1", "2"]),
        ["spec.tools.policy.rules[0].arguments[0].values", "must be one number"],
    ),
    (
        "two rules of one name",
        {
            "tools": {
                "policy": {
                    "rules": [{"name": "a", "effect": "Allow"}, {"name": "a", "effect": "Deny"}]
                }
            }
        },
        ["spec.tools.policy.rules", "Duplicate value"],
    ),
    (
        "a credential that may go anywhere",
        {"tools": {"credentials": [{"name": "a", "secretRef": {"name": "a"}, "hosts": []}]}},
        ["spec.tools.credentials[0].hosts"],
    ),
    (
        "an issuer over plain http",
        {
            "authentication": {
                "oidc": [{"name": "a", "issuer": "http://login.example.com", "audience": "b"}]
            }
        },
        ["spec.authentication.oidc[0].issuer", "should match"],
    ),
    (
        "a key with an unknown scope",
        {
            "authentication": {
                "apiKeys": [{"name": "a", "secretRef": {"name": "a"}, "scopes": ["root"]}]
            }
        },
        ["spec.authentication.apiKeys[0].scopes[0]", "Unsupported value"],
    ),
    (
        "a key that ends on no date",
        {
            "authentication": {
                "apiKeys": [
                    {
                        "name": "a",
                        "secretRef": {"name": "a"},
                        "scopes": ["*"],
                        "expiresAt": "2030-13-41T00:00:00Z",
                    }
                ]
            }
        },
        ["spec.authentication.apiKeys[0].expiresAt", "date-time"],
    ),
]

TOOLS_REFUSED = [
    ("a host that an argument chooses", package(url="https://{host}/x"), "spec.tools[0].url"),
    ("credentials in an address", package(url="https://me@example.com/"), "spec.tools[0].url"),
    ("a header of two lines", package(headerName="X-A: b\r\nX-B"), "spec.tools[0].headerName"),
    (
        "too many parts of a schema",
        package(parameters=dict.fromkeys(map(str, range(33)))),
        "parameters",
    ),
]


@pytest.mark.parametrize("spec", [pytest.param(spec, id=name) for name, spec in ACCEPTED])
async def test_is_accepted(world: World, spec: Object) -> None:
    status, message = await dry_run(world, "organizationruntimes", spec)
    assert status == 201, message


@pytest.mark.parametrize(
    ("spec", "says"), [pytest.param(spec, says, id=name) for name, spec, says in REFUSED]
)
async def test_is_refused_with_the_field_and_the_remedy(
    world: World, spec: Object, says: list[str]
) -> None:
    status, message = await dry_run(world, "organizationruntimes", spec)
    assert status == 422, message
    assert [part for part in says if part not in message] == []


@pytest.mark.parametrize(
    ("spec", "says"), [pytest.param(spec, says, id=name) for name, spec, says in TOOLS_REFUSED]
)
async def test_a_packages_tool_is_refused(world: World, spec: Object, says: str) -> None:
    status, message = await dry_run(world, "agentpackages", spec)
    assert status == 422, message
    assert says in message


async def test_a_schema_of_arguments_is_kept_as_it_was_written(world: World) -> None:
    parameters = {
        "type": "object",
        "properties": {"id": {"type": "string", "pattern": "^c[0-9]+$"}},
        "required": ["id"],
    }
    manifest = {
        "apiVersion": "bulkhead.dev/v1alpha1",
        "kind": "AgentPackage",
        "metadata": {"name": "crm", "namespace": "default"},
        "spec": package(parameters=parameters),
    }
    live = await world.api.create(manifest)
    assert live["spec"]["tools"][0]["parameters"] == parameters
    changed = {"spec": package(parameters={**parameters, "required": []})}
    status, answer = await world.api.call(
        "PATCH", path_of(manifest), changed, "application/merge-patch+json"
    )
    assert status == 422
    assert "give the new content a new version" in answer["message"]
    await world.api.expect("DELETE", path_of(manifest))


@pytest.mark.parametrize(
    ("name", "before", "after"),
    [
        pytest.param("to-shared", {}, {"postgres": POSTGRES}, id="from a volume to PostgreSQL"),
        pytest.param(
            "to-volume",
            {"postgres": POSTGRES},
            {"postgres": None},
            id="from PostgreSQL to one",
        ),
    ],
)
async def test_conversations_do_not_move_between_stores(
    world: World, name: str, before: Object, after: Object
) -> None:
    manifest = organization(name, storage=before)
    await world.api.create(manifest)
    status, answer = await world.api.call(
        "PATCH", path_of(manifest), {"spec": {"storage": after}}, "application/merge-patch+json"
    )
    assert status == 422
    assert "spec.storage.postgres" in answer["message"]
    assert "make a new organization" in answer["message"]


async def test_the_database_secret_and_redis_may_change(world: World) -> None:
    manifest = organization("moving", storage={"postgres": POSTGRES})
    await world.api.create(manifest)
    storage = {"postgres": {"secretRef": {"name": "other"}}, "redis": REDIS}
    live = await world.api.merge(path_of(manifest), {"spec": {"storage": storage}})
    assert live["spec"]["storage"]["postgres"]["secretRef"] == {"name": "other", "key": "dsn"}
    live = await world.api.merge(path_of(manifest), {"spec": {"storage": {"redis": None}}})
    assert "redis" not in live["spec"]["storage"]
