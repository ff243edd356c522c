from typing import Any

from bulkhead_api.names import API_KEY_SECRET, INTERNAL_SECRET
from bulkhead_operator.resources.access import CLUSTER_ROLE
from tests.support.chart import render

RENDERED = render()
SECRETS = {API_KEY_SECRET, INTERNAL_SECRET}


def _rules(kind: str, name: str) -> list[dict[str, Any]]:
    rules: list[dict[str, Any]] = RENDERED.one(kind, name)["rules"]
    return rules


def _resources(name: str) -> set[str]:
    return {resource for rule in _rules("ClusterRole", name) for resource in rule["resources"]}


def test_no_role_has_a_wildcard() -> None:
    for role in RENDERED.of("ClusterRole") + RENDERED.of("Role"):
        for rule in role["rules"]:
            assert "*" not in rule["verbs"] + rule["resources"] + rule["apiGroups"], role


def test_no_role_escalates_or_impersonates() -> None:
    for role in RENDERED.of("ClusterRole") + RENDERED.of("Role"):
        for rule in role["rules"]:
            assert not {"escalate", "impersonate"} & set(rule["verbs"]), role


def test_the_operator_reaches_neither_secrets_nor_pods_in_the_whole_cluster() -> None:
    assert not {"secrets", "pods", "pods/exec"} & _resources("bulkhead-operator")


def test_the_operator_may_bind_one_role_only() -> None:
    (rule,) = [
        rule for rule in _rules("ClusterRole", "bulkhead-operator") if "bind" in rule["verbs"]
    ]
    assert rule == {
        "apiGroups": ["rbac.authorization.k8s.io"],
        "resources": ["clusterroles"],
        "resourceNames": [CLUSTER_ROLE],
        "verbs": ["bind"],
    }


def test_in_an_organization_the_operator_changes_its_own_secrets_only() -> None:
    for rule in _rules("ClusterRole", CLUSTER_ROLE):
        if rule["resources"] == ["secrets"]:
            assert not {"list", "watch"} & set(rule["verbs"])
            named = set(rule.get("resourceNames", ()))
            assert named == SECRETS or set(rule["verbs"]) == {"get", "create"}


# Cluster-scoped, or only written of our own kinds, or written in no particular namespace.
_NOT_CONFINED = {"clusterroles", "organizationruntimes", "events"}


def test_every_kind_that_the_operator_writes_is_confined_by_one_policy() -> None:
    rules = _rules("ClusterRole", "bulkhead-operator") + _rules("ClusterRole", CLUSTER_ROLE)
    written = {
        resource
        for rule in rules
        for resource in rule["resources"]
        if not set(rule["verbs"]) <= {"get", "list", "watch"} and "/" not in resource
    }
    confined = [
        resource
        for policy in RENDERED.of("ValidatingAdmissionPolicy")
        for rule in policy["spec"]["matchConstraints"]["resourceRules"]
        for resource in rule["resources"]
    ]
    assert sorted(confined) == sorted(written - _NOT_CONFINED)


def test_only_the_operators_own_account_is_bound() -> None:
    for binding in RENDERED.of("ClusterRoleBinding") + RENDERED.of("RoleBinding"):
        for subject in binding["subjects"]:
            assert subject["kind"] == "ServiceAccount"
            assert subject["namespace"] == "bulkhead-system"


def test_a_tenant_writes_packages_and_pools_and_nothing_else() -> None:
    assert _resources("bulkhead-tenant") == {"agentpackages", "memorypools"}


def test_the_operator_takes_the_lease_that_its_role_names() -> None:
    named = [rule for rule in _rules("Role", "bulkhead-operator") if "resourceNames" in rule]
    assert [rule["resourceNames"] for rule in named] == [["bulkhead-operator"]]
