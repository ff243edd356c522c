"""Every rule across fields, as a real API server accepts and refuses, and what it says."""

from typing import Any

import pytest

from tests.integration.reconcile.conftest import World, organization, package
from tests.integration.reconcile.test_crds_bounds import dry_run
from tests.support.api_observer import Object, path_of

PROVIDER = {"name": "hosted", "baseURL": "https://api.example.com/v1"}


def agents(**fields: Any) -> Object:
    return {"version": "1.0.0", "agents": [{"name": "helper", **fields}]}


PROMPT = {"agent": "helper", "message": "Where is order 77?"}
ACCEPTED = [
    pytest.param(
        "agentpackages",
        {
            "version": "1.0.0",
            "agents": [{"name": "helper"}],
            "healthChecks": [{"name": "a", "prompt": {**PROMPT, "matches": "(?i)order \\d+"}}],
        },
        id="an answer that must match an expression",
    ),
    pytest.param("organizationruntimes", {}, id="nothing but a name"),
    pytest.param(
        "organizationruntimes",
        {"limits": {"maxMemoryMB": 128, "requests": {"memoryMB": 128}}},
        id="as much memory reserved as allowed",
    ),
    pytest.param(
        "organizationruntimes",
        {"limits": {"maxCPUPercent": 10, "requests": {"cpuMillicores": 100}}},
        id="as much CPU reserved as allowed",
    ),
    pytest.param(
        "organizationruntimes",
        {"models": {"default": "hosted/x", "providers": [PROVIDER]}},
        id="a default model of a provider that is there",
    ),
    pytest.param(
        "organizationruntimes",
        {
            "limits": {"maxMemoryMB": 512},
            "models": {"providers": [{"name": "anthropic", "type": "LiteLLM"}]},
        },
        id="litellm with enough memory and no address",
    ),
    pytest.param(
        "organizationruntimes",
        {"network": {"egress": [{"namespace": "gateway", "ports": [80]}]}},
        id="a namespace to reach",
    ),
    pytest.param("memorypools", {}, id="a pool of the default size"),
    pytest.param("agentpackages", agents(), id="a package with one plain agent"),
    pytest.param(
        "agentpackages",
        {"version": "1.0.0", "source": {"configMap": {"name": "bundle"}}},
        id="agents in a ConfigMap",
    ),
    pytest.param(
        "agentpackages",
        {**agents(), "image": {"reference": f"registry.example.com/agents/a@sha256:{'a' * 64}"}},
        id="an image by its digest",
    ),
    pytest.param(
        "agentpackages",
        {**agents(), "image": {"reference": "localhost:5000/agents/a:1.0.0"}},
        id="an image by a tag",
    ),
    pytest.param(
        "agentpackages",
        {**agents(), "rollout": {"strategy": "Canary", "steps": [{"weight": 5}]}},
        id="a canary with a step",
    ),
    pytest.param(
        "organizationruntimes",
        {
            "integrations": [
                {"name": "crm", "version": "2.9.0"},
                {"name": "crm", "version": "3.0.0"},
            ]
        },
        id="an integration in two versions",
    ),
]

REFUSED = [
    pytest.param(
        "organizationruntimes",
        {"limits": {"maxMemoryMB": 128, "requests": {"memoryMB": 129}}},
        ["spec.limits.requests.memoryMB", "raise `spec.limits.maxMemoryMB`"],
        id="more memory reserved than allowed",
    ),
    pytest.param(
        "organizationruntimes",
        {"limits": {"maxCPUPercent": 10, "requests": {"cpuMillicores": 101}}},
        ["spec.limits.requests.cpuMillicores", "raise `spec.limits.maxCPUPercent`"],
        id="more CPU reserved than allowed",
    ),
    pytest.param(
        "organizationruntimes",
        {
            "limits": {"maxMemoryMB": 256},
            "models": {"providers": [{"name": "a", "type": "LiteLLM"}]},
        },
        ["spec.limits.maxMemoryMB", "at least 512"],
        id="litellm with too little memory",
    ),
    pytest.param(
        "organizationruntimes",
        {"models": {"default": "nobody/x"}},
        ["spec.models.default", "nobody/x", "write PROVIDER/MODEL"],
        id="a default model of no provider",
    ),
    pytest.param(
        "organizationruntimes",
        {"models": {"providers": [{"name": "hosted"}]}},
        ["baseURL", "must be given"],
        id="a compatible provider without address",
    ),
    pytest.param(
        "organizationruntimes",
        {"models": {"providers": [{**PROVIDER, "name": "offline"}]}},
        ["spec.models.providers", "offline", "choose another"],
        id="a provider with the embedded model's name",
    ),
    pytest.param(
        "organizationruntimes",
        {"models": {"providers": [PROVIDER, PROVIDER]}},
        ["spec.models.providers", "Duplicate value", "hosted"],
        id="two providers of one name",
    ),
    pytest.param(
        "organizationruntimes",
        {"models": {"providers": [{**PROVIDER, "baseURL": "https://key@api.example.com"}]}},
        ["baseURL", "should match"],
        id="credentials in an address",
    ),
    pytest.param(
        "organizationruntimes",
        {"network": {"egress": [{"ports": [80]}]}},
        ["spec.network.egress", "exactly one of `cidr` and `namespace`"],
        id="egress to nowhere",
    ),
    pytest.param(
        "organizationruntimes",
        {"network": {"egress": [{"cidr": "10.0.0.0/8", "namespace": "a", "ports": [80]}]}},
        ["spec.network.egress", "exactly one of `cidr` and `namespace`"],
        id="egress to two places in one entry",
    ),
    pytest.param(
        "organizationruntimes",
        {"network": {"egress": [{"cidr": "10.0.0.300/8", "ports": [80]}]}},
        ["spec.network.egress[0].cidr", "must be a CIDR"],
        id="egress to no real block",
    ),
    pytest.param(
        "organizationruntimes",
        {"namespace": "kube-system"},
        ["spec.namespace", "system namespace"],
        id="a system namespace",
    ),
    pytest.param(
        "agentpackages",
        {"version": "1.0.0", "agents": [{"name": "a"}, {"name": "a"}]},
        ["spec.agents", "Duplicate value"],
        id="two agents of one name",
    ),
    pytest.param(
        "agentpackages",
        {"version": "1.0.0"},
        ["spec.agents", "unless `spec.source` is"],
        id="a package without content",
    ),
    pytest.param(
        "agentpackages",
        {**agents(), "source": {"configMap": {"name": "bundle"}}},
        ["spec.agents", "one place"],
        id="agents in two places",
    ),
    pytest.param(
        "agentpackages",
        {
            "version": "1.0.0",
            "tools": [{"name": "a", "description": "b", "url": "https://a.example.com"}],
            "source": {"configMap": {"name": "bundle"}},
        },
        ["spec.tools", "must be empty with `spec.source`"],
        id="tools in two places",
    ),
    pytest.param(
        "agentpackages",
        {
            "version": "1.0.0",
            "source": {"configMap": {"name": "bundle"}},
            "image": {"reference": "registry.example.com/agents/a:1.0.0"},
        },
        ["spec.image", "must not be given with `spec.source`"],
        id="an image whose agents lie elsewhere",
    ),
    pytest.param(
        "agentpackages",
        {**agents(), "image": {"reference": "registry.example.com/agents/a:latest"}},
        ["spec.image", "another image tomorrow"],
        id="an image that is another one tomorrow",
    ),
    pytest.param(
        "agentpackages",
        {**agents(), "image": {"reference": "nginx:1.29"}},
        ["spec.image.reference", "should match"],
        id="an image without its host",
    ),
    pytest.param(
        "agentpackages",
        {"version": "1.0.0", "source": {}},
        ["spec.source", "exactly one of `configMap` and `oci`"],
        id="a source without a place",
    ),
    pytest.param(
        "agentpackages",
        {**agents(), "healthChecks": [{"name": "a"}]},
        ["spec.healthChecks[0]", "exactly one of `http`, `tool` and `prompt`"],
        id="a health check of nothing",
    ),
    pytest.param(
        "agentpackages",
        {
            **agents(),
            "healthChecks": [{"name": "a", "prompt": {**PROMPT, "matches": "order (\\d+"}}],
        },
        ["spec.healthChecks[0].prompt", "missing closing )"],
        id="an answer that must match what is no expression",
    ),
    pytest.param(
        "agentpackages",
        {
            **agents(),
            "dependencies": [
                {"type": "Integration", "name": "a", "version": "1", "healthCheck": {}}
            ],
        },
        ["spec.dependencies[0].healthCheck", "exactly one of `http` and `tool`"],
        id="a dependency's check of nothing",
    ),
    pytest.param(
        "agentpackages",
        {
            **agents(),
            "dependencies": [
                {
                    "type": "Integration",
                    "name": "a",
                    "required": False,
                    "installation": {"command": ["true"]},
                }
            ],
        },
        ["spec.dependencies[0].installation", "not required"],
        id="an installation that nobody waits for",
    ),
    pytest.param(
        "agentpackages",
        {**agents(), "rollout": {"strategy": "Canary"}},
        ["spec.rollout.steps", "at least one step"],
        id="a canary without steps",
    ),
    pytest.param(
        "agentpackages",
        {**agents(), "rollout": {"steps": [{"weight": 5}]}},
        ["spec.rollout.steps", "take 'Canary'"],
        id="steps all at once",
    ),
    pytest.param(
        "agentpackages",
        {
            **agents(),
            "rollout": {
                "strategy": "Canary",
                "steps": [{"weight": 5, "approval": True, "pauseSeconds": 1}],
            },
        },
        ["spec.rollout.steps[0]", "a person decides"],
        id="a step with a pause and an approval",
    ),
    pytest.param(
        "agentpackages", {"version": "1.0", "agents": [{"name": "a"}]}, ["spec.version"], id="1.0"
    ),
]


@pytest.mark.parametrize(("plural", "spec"), ACCEPTED)
async def test_is_accepted(world: World, plural: str, spec: Object) -> None:
    status, message = await dry_run(world, plural, spec)
    assert status == 201, message


@pytest.mark.parametrize(("plural", "spec", "says"), REFUSED)
async def test_is_refused_with_the_field_and_the_remedy(
    world: World, plural: str, spec: Object, says: list[str]
) -> None:
    status, message = await dry_run(world, plural, spec)
    assert status == 422, message
    assert [part for part in says if part not in message] == []


@pytest.mark.parametrize(
    ("plural", "name", "says"),
    [
        pytest.param("organizationruntimes", "a" * 41, "at most 40 characters", id="a long name"),
        pytest.param("organizationruntimes", "a.b", "without dots", id="a name with a dot"),
        pytest.param("agentpackages", "a.b", "without dots", id="a package with a dot"),
        pytest.param("memorypools", "other", "must be 'default'", id="a second pool"),
    ],
)
async def test_a_name_is_bounded(world: World, plural: str, name: str, says: str) -> None:
    spec = agents() if plural == "agentpackages" else {}
    status, message = await dry_run(world, plural, spec, name)
    assert status == 422
    assert "metadata.name" in message
    assert says in message


CHANGES = [
    pytest.param({"namespace": "a"}, {"namespace": "b"}, "spec.namespace", id="the namespace"),
    pytest.param({}, {"namespace": "b"}, "namespace", id="a namespace that was left out"),
    pytest.param(
        {"storage": {"storageClassName": "a"}},
        {"storage": {"storageClassName": "b"}},
        "storageClassName",
        id="the class of the volume",
    ),
    pytest.param(
        {"storage": {"sizeMB": 200}}, {"storage": {"sizeMB": 199}}, "sizeMB", id="a smaller volume"
    ),
]


@pytest.mark.parametrize(("before", "after", "field"), CHANGES)
async def test_what_cannot_change_is_refused(
    world: World, before: Object, after: Object, field: str
) -> None:
    manifest = organization("fixed", **before)
    await world.api.create(manifest)
    status, answer = await world.api.call(
        "PATCH", path_of(manifest), {"spec": after}, "application/merge-patch+json"
    )
    assert status == 422
    assert field in answer["message"]


async def test_a_volume_may_grow(world: World) -> None:
    manifest = organization("growing", storage={"sizeMB": 200})
    await world.api.create(manifest)
    live = await world.api.merge(path_of(manifest), {"spec": {"storage": {"sizeMB": 201}}})
    assert live["spec"]["storage"]["sizeMB"] == 201


async def test_the_content_of_a_version_is_immutable(world: World) -> None:
    manifest = package("default", "support", "1.0.0", helper={})
    await world.api.create(manifest)
    changed = {"spec": {"agents": [{"name": "helper", "instructions": "new"}]}}
    path = path_of(manifest)
    status, answer = await world.api.call("PATCH", path, changed, "application/merge-patch+json")
    assert status == 422
    assert "spec.version" in answer["message"]
    assert "give the new content a new version" in answer["message"]
    await world.api.merge(path, {"spec": {"version": "1.0.1", **changed["spec"]}})
    await world.api.expect("DELETE", path)


CONTENT = [
    pytest.param({"dependencies": []}, id="its dependencies"),
    pytest.param({"healthChecks": []}, id="its health checks"),
    pytest.param({"executionConfig": {"timeoutSeconds": 9}}, id="how it runs"),
    pytest.param({"agents": [], "source": {"configMap": {"name": "b"}}}, id="its source"),
    pytest.param({"image": {"reference": "registry.example.com/a:1"}}, id="its image"),
]
DELIVERY = [
    pytest.param({"suspend": True}, id="whether it is held"),
    pytest.param({"rollout": {"progressDeadlineSeconds": 60}}, id="how it takes over"),
    pytest.param({"revisionHistoryLimit": 3}, id="how many are kept"),
    pytest.param({"runtimeRequirements": {"memoryMB": 128}}, id="what it asks for"),
]


async def with_everything(world: World) -> Object:
    manifest = package("default", "whole", "1.0.0", helper={})
    manifest["spec"] |= {
        "dependencies": [{"type": "Integration", "name": "crm", "version": ">=3"}],
        "healthChecks": [{"name": "up", "http": {"url": "https://a.example.com"}}],
    }
    await world.api.create(manifest)
    return manifest


@pytest.mark.parametrize("changed", CONTENT)
async def test_no_part_of_the_content_changes_within_a_version(
    world: World, changed: Object
) -> None:
    manifest = await with_everything(world)
    status, answer = await world.api.call(
        "PATCH", path_of(manifest), {"spec": changed}, "application/merge-patch+json"
    )
    await world.api.expect("DELETE", path_of(manifest))
    assert status == 422
    assert "give the new content a new version" in answer["message"]


@pytest.mark.parametrize("changed", DELIVERY)
async def test_how_a_version_is_delivered_may_change_at_any_time(
    world: World, changed: Object
) -> None:
    manifest = await with_everything(world)
    await world.api.merge(path_of(manifest), {"spec": changed})
    await world.api.expect("DELETE", path_of(manifest))


async def test_a_fresh_object_never_reads_as_healthy(world: World) -> None:
    live = await world.api.create(organization("unseen"))
    assert live["status"]["observedGeneration"] == -1
    assert live["status"].get("conditions", []) == []
