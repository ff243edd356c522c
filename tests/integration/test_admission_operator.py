"""What RBAC cannot say, a real API server refuses: where the operator's own account may write."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.cluster.control_plane import ControlPlane
from tests.cluster.kubectl import Kubectl
from tests.cluster.progress import ClusterError, until
from tests.support import chart
from tests.support.api_observer import observing

Manifest = dict[str, Any]
ORGANIZATION = "bulkhead.dev/organization"


@pytest.fixture(scope="module")
def control_plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    with ControlPlane(tmp_path_factory.mktemp("admission")) as running:
        yield running


@pytest.fixture(scope="module")
def admin(control_plane: ControlPlane) -> Kubectl:
    kubectl = Kubectl(control_plane.kubeconfig)
    kubectl.run("create", "namespace", chart.NAMESPACE)
    kubectl.apply(chart.text({}, "--no-hooks"))
    for manifest in (
        _namespace("org-made", labels={ORGANIZATION: "made"}),
        _namespace("adopted", annotations={ORGANIZATION: "adopted"}),
        _namespace("stranger"),
        _namespace("spoofed", labels={ORGANIZATION: "spoofed"}),
        _namespace("org-other", labels={ORGANIZATION: "another"}),
        _namespace("org-unbound", labels={ORGANIZATION: "unbound"}),
        _pod("org-made"),
    ):
        kubectl.apply(json.dumps(manifest))
    for namespace in ("org-made", "adopted", "stranger", "spoofed", "org-other"):
        kubectl.apply(json.dumps(_binding(namespace)))
    kubectl.run("annotate", "namespace", "kube-public", f"{ORGANIZATION}=public")
    kubectl.run("annotate", "namespace", chart.NAMESPACE, f"{ORGANIZATION}=own")
    return kubectl


@pytest.fixture(scope="module")
def operator(control_plane: ControlPlane, admin: Kubectl) -> Kubectl:
    account = Kubectl(control_plane.kubeconfig_for(chart.NAMESPACE, "bulkhead-operator"))
    # A policy is enforced up to a second or two after it is there.
    for case in ONE_OF_EACH_POLICY:
        _until_refused(account, *REFUSED[case])
    return account


def _namespace(name: str, **metadata: dict[str, str]) -> Manifest:
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, **metadata}}


def _pod(namespace: str) -> Manifest:
    container = {"name": "runtime", "image": "localhost/runtime:1"}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "runtime-1", "namespace": namespace, "labels": {"app": "runtime"}},
        "spec": {"containers": [container]},
    }


def _binding(
    namespace: str,
    *,
    name: str = "bulkhead-operator",
    role: str = "bulkhead-operator-organization",
    subject: str = "bulkhead-operator",
) -> Manifest:
    account = {"kind": "ServiceAccount", "name": subject, "namespace": chart.NAMESPACE}
    return {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "RoleBinding",
        "metadata": {"name": name, "namespace": namespace},
        "roleRef": {
            "apiGroup": "rbac.authorization.k8s.io",
            "kind": "ClusterRole",
            "name": role,
        },
        "subjects": [account],
    }


def _config_map(namespace: str) -> Manifest:
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "runtime-config", "namespace": namespace},
        "data": {"config.json": "{}"},
    }


def _secret(namespace: str, name: str) -> Manifest:
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": name, "namespace": namespace},
        "stringData": {"token": "bh_test"},
    }


def _deployment(name: str = "runtime", **pod: object) -> Manifest:
    labels = {"app": name}
    spec = {
        "serviceAccountName": "runtime",
        "automountServiceAccountToken": False,
        "containers": [{"name": "runtime", "image": "localhost/runtime:1"}],
        **pod,
    }
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "namespace": "org-made"},
        "spec": {
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": spec},
        },
    }


def _job(name: str = "install-parcels-0123456789", **container: object) -> Manifest:
    spec = {
        "restartPolicy": "Never",
        "serviceAccountName": "runtime",
        "automountServiceAccountToken": False,
        "containers": [{"name": "step", "image": "localhost/runtime:1", **container}],
        "volumes": [{"name": "scratch", "emptyDir": {}}],
    }
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": name, "namespace": "org-made"},
        "spec": {"template": {"spec": spec}},
    }


_FROM_SECRET = {"secretKeyRef": {"name": "runtime-api-key", "key": "key"}}

ALLOWED = {
    "the Job that installs for a package": _job(),
    "a ConfigMap in a namespace that it made": _config_map("org-made"),
    "a ConfigMap in a namespace that it adopted": _config_map("adopted"),
    "its own RoleBinding in a namespace that it made": _binding("org-made"),
    "its own RoleBinding in a namespace that it adopted": _binding("adopted"),
    "the runtime's Deployment": _deployment(),
    "the Deployment of a package's own image": _deployment(
        "package-parcels-0123456789", volumes=[{"name": "scratch", "emptyDir": {}}]
    ),
    "the namespace of an organization": _namespace("org-new", labels={ORGANIZATION: "new"}),
    "the namespace of an organization, annotated with its name": _namespace(
        "org-newer", labels={ORGANIZATION: "newer"}, annotations={ORGANIZATION: "newer"}
    ),
    "the label of a namespace that it adopted": _namespace(
        "adopted", labels={ORGANIZATION: "adopted"}
    ),
    "the label that was taken off a namespace that it made": _namespace(
        "org-made", labels={ORGANIZATION: "made"}
    ),
}

REFUSED = {
    "a ConfigMap in a namespace that is not an organization's": (
        _config_map("stranger"),
        "namespace stranger is not an organization's",
    ),
    "a ConfigMap in a namespace that only carries the label": (
        _config_map("spoofed"),
        "namespace spoofed is not an organization's",
    ),
    "a ConfigMap in a namespace labelled with another name than its own": (
        _config_map("org-other"),
        "namespace org-other is not an organization's",
    ),
    "a ConfigMap in a system namespace that somebody annotated": (
        _config_map("kube-public"),
        "namespace kube-public is not an organization's",
    ),
    "a ConfigMap in its own namespace": (
        _config_map(chart.NAMESPACE),
        f"namespace {chart.NAMESPACE} is not an organization's",
    ),
    "a RoleBinding of another name": (
        _binding("org-made", name="other"),
        "writes no RoleBinding but bulkhead-operator",
    ),
    "a RoleBinding for somebody else": (
        _binding("org-made", subject="default"),
        "to nobody but its own ServiceAccount",
    ),
    "a Deployment of another name": (_deployment("miner"), "no Deployment but runtime"),
    "a Deployment of a package that mounts a Secret": (
        _deployment(
            "package-parcels-0123456789",
            volumes=[{"name": "keys", "secret": {"secretName": "runtime-api-key"}}],
        ),
        "those of packages mount nothing",
    ),
    "a Deployment of a package with a token of the API server": (
        _deployment("package-parcels-0123456789", automountServiceAccountToken=True),
        "no Deployment but runtime and package-*",
    ),
    "a Deployment with a token of the API server": (
        _deployment(automountServiceAccountToken=True),
        "no Deployment but runtime",
    ),
    "a Deployment on the node's network": (
        _deployment(hostNetwork=True),
        "no Deployment but runtime",
    ),
    "a Deployment that mounts the node's files": (
        _deployment(volumes=[{"name": "root", "hostPath": {"path": "/"}}]),
        "no Deployment but runtime",
    ),
    "a Job of another name": (_job("miner"), "no Job but install-"),
    "a Job that reads a Secret": (
        _job(env=[{"name": "KEY", "valueFrom": _FROM_SECRET}]),
        "no token of the API server and no Secret",
    ),
    "a Job that reads all of a Secret": (
        _job(envFrom=[{"secretRef": {"name": "runtime-api-key"}}]),
        "no token of the API server and no Secret",
    ),
    "the label of a namespace that is not an organization's": (
        _namespace("stranger", labels={ORGANIZATION: "stranger"}),
        "must leave namespace stranger alone",
    ),
    "the annotation of a namespace that is not an organization's": (
        _namespace("stranger", annotations={ORGANIZATION: "stranger"}),
        "only a person may annotate",
    ),
    "another organization's name on a namespace that it adopted": (
        _namespace("adopted", annotations={ORGANIZATION: "another"}),
        "only a person may annotate",
    ),
    "a namespace with a name of its own choice": (
        _namespace("mine", labels={ORGANIZATION: "mine"}),
        "must leave namespace mine alone",
    ),
}


ONE_OF_EACH_POLICY = (
    "a ConfigMap in a namespace that is not an organization's",
    "a Deployment of another name",
    "a namespace with a name of its own choice",
)


def _until_refused(kubectl: Kubectl, manifest: Manifest, reason: str) -> None:
    """Wait until a write is refused for that reason; rights and policies take effect late."""

    def refused() -> bool:
        try:
            _apply(kubectl, manifest)
        except ClusterError as error:
            return reason in str(error)
        return False

    until(refused, seconds=60, what=f"refused is what {reason}")


def _apply(kubectl: Kubectl, manifest: Manifest) -> None:
    kubectl.run(
        *("apply", "--server-side", "--force-conflicts", "--dry-run=server", "--filename=-"),
        stdin=json.dumps(manifest),
    )


@pytest.mark.parametrize("case", ALLOWED)
def test_the_operator_may_write(operator: Kubectl, case: str) -> None:
    _apply(operator, ALLOWED[case])


@pytest.mark.parametrize("case", REFUSED)
def test_the_operator_may_not_write(operator: Kubectl, case: str) -> None:
    manifest, reason = REFUSED[case]
    with pytest.raises(ClusterError, match=reason):
        _apply(operator, manifest)


@pytest.mark.parametrize("case", REFUSED)
def test_a_person_is_not_confined(admin: Kubectl, case: str) -> None:
    manifest, _ = REFUSED[case]
    _apply(admin, manifest)


@pytest.mark.parametrize("name", ["runtime-api-key", "runtime-internal"])
def test_the_operator_makes_the_keys_of_an_organization(operator: Kubectl, name: str) -> None:
    secret = json.dumps(_secret("org-made", name))
    operator.run("create", "--dry-run=server", "--filename=-", stdin=secret)


def test_the_operator_makes_no_other_secret(operator: Kubectl) -> None:
    secret = json.dumps(_secret("org-made", "models-key"))
    with pytest.raises(ClusterError, match="writes no Secrets but"):
        operator.run("create", "--filename=-", stdin=secret)


def test_the_operator_neither_lists_nor_changes_secrets_of_a_tenant(
    admin: Kubectl, operator: Kubectl
) -> None:
    admin.apply(json.dumps(_secret("org-made", "provider-key")))
    with pytest.raises(ClusterError, match="cannot list resource"):
        operator.run("get", "secrets", "--namespace=org-made")
    with pytest.raises(ClusterError, match="cannot delete resource"):
        operator.run("delete", "secret", "provider-key", "--namespace=org-made")
    with pytest.raises(ClusterError, match="cannot get resource"):
        operator.run("get", "secret", "provider-key", "--namespace=default")


def test_the_operator_binds_no_other_role(operator: Kubectl) -> None:
    with pytest.raises(ClusterError, match="attempting to grant RBAC permissions not currently"):
        _apply(operator, _binding("org-unbound", role="cluster-admin"))


def test_the_operator_binds_no_other_role_even_if_rbac_let_it(
    admin: Kubectl, operator: Kubectl
) -> None:
    admin.run("create", "clusterrole", "binder", "--verb=bind", "--resource=clusterroles")
    account = f"--serviceaccount={chart.NAMESPACE}:bulkhead-operator"
    admin.run("create", "clusterrolebinding", "binder", "--clusterrole=binder", account)
    try:
        _until_refused(
            operator,
            _binding("org-unbound", role="cluster-admin"),
            "binds no role but the ClusterRole",
        )
    finally:
        admin.run("delete", "clusterrolebinding", "binder")


async def _patch_pod(operator: Kubectl, change: Manifest) -> tuple[int, Manifest]:
    # Without kubectl, which reads an object before it patches it.
    async with observing(operator.kubeconfig) as account:
        path = "/api/v1/namespaces/org-made/pods/runtime-1"
        return await account.call("PATCH", path, change, "application/merge-patch+json")


async def test_the_operator_touches_a_pods_annotations(operator: Kubectl) -> None:
    touched = {"metadata": {"annotations": {"bulkhead.dev/configuration-hash": "1"}}}
    status, _ = await _patch_pod(operator, touched)
    assert status == 200


@pytest.mark.parametrize(
    "change",
    [
        {"metadata": {"labels": {"app": "other"}}},
        {"spec": {"containers": [{"name": "runtime", "image": "localhost/other:1"}]}},
        {"metadata": {"finalizers": ["example.com/stay"]}},
    ],
    ids=["its labels", "its image", "its finalizers"],
)
async def test_the_operator_changes_nothing_else_of_a_pod(
    operator: Kubectl, change: Manifest
) -> None:
    status, answer = await _patch_pod(operator, change)
    assert status == 403
    assert "changes nothing of pods but annotations" in answer["message"]


@pytest.mark.parametrize("namespace", ["stranger", "spoofed", "org-other", "adopted"])
def test_the_operator_deletes_no_namespace_that_it_did_not_make(
    operator: Kubectl, namespace: str
) -> None:
    with pytest.raises(ClusterError, match=f"must leave namespace {namespace} alone"):
        operator.run("delete", "namespace", namespace, "--dry-run=server")


def test_the_operator_deletes_a_namespace_that_it_made(operator: Kubectl) -> None:
    operator.run("delete", "namespace", "org-made", "--dry-run=server")


def test_the_operator_deletes_nothing_outside_of_organizations(
    admin: Kubectl, operator: Kubectl
) -> None:
    admin.apply(json.dumps(_config_map("stranger")))
    with pytest.raises(ClusterError, match="is not an organization's"):
        operator.run("delete", "configmap", "runtime-config", "--namespace=stranger")
    assert admin.succeeds("get", "configmap", "runtime-config", "--namespace=stranger")


def test_a_repaired_label_lets_the_operator_in_again(admin: Kubectl, operator: Kubectl) -> None:
    admin.apply(json.dumps(_namespace("org-drifted")))
    with pytest.raises(ClusterError, match="is not an organization's"):
        _apply(operator, _config_map("org-drifted"))
    label = json.dumps(_namespace("org-drifted", labels={ORGANIZATION: "drifted"}))
    operator.run("apply", "--server-side", "--filename=-", stdin=label)

    def let_in() -> bool:
        try:
            _apply(operator, _config_map("org-drifted"))
        except ClusterError:
            return False
        return True

    # The policies judge by namespaces that they know a moment after they changed.
    until(let_in, seconds=60, what="the operator writes into the namespace again")
