from typing import Any

from bulkhead_api.v1alpha1 import AgentPackage, OrganizationRuntime
from bulkhead_operator.reconcile.parse import parsed, unknown_fields


def _package(**spec: Any) -> dict[str, Any]:
    return {
        "metadata": {"name": "helper", "namespace": "org-acme", "uid": "u1"},
        "spec": {"version": "1.0.0", "agents": [{"name": "assistant"}], **spec},
    }


def test_fields_of_a_newer_release_are_left_out_wherever_they_stand() -> None:
    body = _package(
        telepathy={"enabled": False}, agents=[{"name": "assistant", "mood": "calm"}, {"name": "b"}]
    )
    package, invalid = parsed(AgentPackage, body)

    assert invalid is None
    assert [agent.name for agent in package.spec.agents] == ["assistant", "b"]
    assert set(unknown_fields(AgentPackage, body)) == {"spec.telepathy", "spec.agents.0.mood"}
    assert body["spec"]["telepathy"] == {"enabled": False}


def test_an_organization_is_kept_while_its_definition_is_newer_than_the_operator() -> None:
    body = {"metadata": {"name": "acme"}, "spec": {"limits": {"maxGhosts": 3}, "aura": "blue"}}
    organization, invalid = parsed(OrganizationRuntime, body)

    assert invalid is None
    assert organization.spec == OrganizationRuntime.model_validate({**body, "spec": {}}).spec


def test_what_is_wrong_is_told_also_beside_fields_that_are_not_known() -> None:
    package, invalid = parsed(AgentPackage, _package(telepathy=True, version="one"))

    assert invalid is not None
    assert "`spec.version` is 'one'" in invalid.message
    assert package.metadata.name == "helper"
