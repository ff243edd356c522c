"""PostgreSQL and Redis as pods, for organizations that share stores: asked for, never by `up`.

What a platform team does is done the same way here: the chart migrates the tables with the owner's
DSN, a Job makes each organization's role, and a person puts the DSN into a Secret.
"""

import json
import secrets
from collections.abc import Callable
from functools import partial
from typing import Any, Final

import yaml

from tests.cluster import binaries, images, install, places
from tests.cluster.commands import run
from tests.cluster.images import Image
from tests.cluster.kubectl import Kubectl
from tests.cluster.progress import ClusterError, Step

NAMESPACE: Final = "bulkhead-stores"
OWNER_SECRET: Final = "bulkhead-owner"
_CREDENTIALS: Final = "credentials"
_OWNER: Final = "owner-password"
_REDIS: Final = "redis-password"
_FIELDS: Final = ("postgres-password", _OWNER, _REDIS)
_DEPLOYMENTS: Final = ("postgres", "redis")
_POSTGRES: Final = f"postgres.{NAMESPACE}.svc:5432/bulkhead"
_REDIS_ADDRESS: Final = f"redis.{NAMESPACE}.svc:6379/0"
_EXAMPLE: Final = "hooli"
_PROVISION: Final = places.ROOT / "examples" / "shared-stores" / "provision.yaml"
REDIS_COMMANDS: Final = (
    "-@all +@hash +@string +del +expire +eval +evalsha +script|load +publish +subscribe "
    "+unsubscribe +ping +hello +auth +select +client|setname +time"
)
"""What a runtime needs. Whole categories would let it flush or list what belongs to others."""


Load = Callable[[list[Image]], str]


def steps(kubectl: Kubectl, load: Load, organizations: list[str]) -> list[Step]:
    """Return what brings the stores up and prepares them for these organizations."""
    title = "PostgreSQL and Redis"
    tables = "tables (by the chart's Job)"
    return [
        Step("image of the stores", lambda: load([images.stores_image()])),
        Step(title, lambda: _stores(kubectl), after=["image of the stores"]),
        Step(tables, lambda: _tables(kubectl), after=[title]),
        *(
            Step(f"role of {name}", partial(provision, kubectl, name), after=[tables])
            for name in organizations
        ),
    ]


def _stores(kubectl: Kubectl) -> None:
    manifests = (places.HERE / "manifests" / "stores.yaml").read_text()
    first, _, others = manifests.partition("\n---\n")
    kubectl.apply(first)
    if not kubectl.succeeds("get", "secret", _CREDENTIALS, f"--namespace={NAMESPACE}"):
        _secret(kubectl, NAMESPACE, _CREDENTIALS, {name: _password() for name in _FIELDS})
    kubectl.apply(others)
    for name in _DEPLOYMENTS:
        kubectl.run(
            "rollout",
            "status",
            f"deployment/{name}",
            f"--namespace={NAMESPACE}",
            "--timeout=120s",
            remedy=f"kubectl --namespace={NAMESPACE} logs deployment/{name}",
        )


def _tables(kubectl: Kubectl) -> None:
    dsn = f"postgresql://bulkhead_owner:{_credential(kubectl, _OWNER)}@{_POSTGRES}"
    _secret(kubectl, install.NAMESPACE, OWNER_SECRET, {"dsn": dsn})
    run(
        [
            binaries.ensure("helm")["helm"],
            f"--kubeconfig={kubectl.kubeconfig}",
            "upgrade",
            install.RELEASE,
            places.ROOT / "charts" / "bulkhead",
            f"--namespace={install.NAMESPACE}",
            "--reset-then-reuse-values",
            "--set=postgres.migrations.enabled=true",
            f"--set=postgres.migrations.ownerSecret.name={OWNER_SECRET}",
        ],
        remedy="`make up` installs the chart; then run this again.",
    )


def provision(kubectl: Kubectl, organization: str) -> str:
    """Make the organization's role and user, and its Secrets `database` and `cache`."""
    namespace = _namespace(kubectl, organization)
    user, password = f"bulkhead_{organization}", _password()
    _secret(kubectl, install.NAMESPACE, f"{organization}-role", {"password": password})
    job = _job(kubectl, organization)
    name, where = job["metadata"]["name"], f"--namespace={install.NAMESPACE}"
    kubectl.run("delete", "job", name, where, "--ignore-not-found")
    kubectl.apply(json.dumps(job))
    kubectl.run(
        "wait", "--for=condition=complete", f"job/{name}", where, "--timeout=120s",
        remedy=f"kubectl {where} logs job/{name}",
    )  # fmt: skip
    kubectl.run("delete", "job", name, where)
    _redis_user(kubectl, organization, user, password)
    database = f"postgresql://{user}:{password}@{_POSTGRES}"
    _secret(kubectl, namespace, "database", {"dsn": database})
    cache = f"redis://{user}:{password}@{_REDIS_ADDRESS}"
    _secret(kubectl, namespace, "cache", {"url": cache})
    return user


def _namespace(kubectl: Kubectl, organization: str) -> str:
    """Make the namespace beforehand, so that the Secrets are there when the runtime starts."""
    name = f"org-{organization}"
    metadata = {"name": name, "annotations": {"bulkhead.dev/organization": organization}}
    namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": metadata}
    kubectl.apply(json.dumps(namespace))
    return name


def _job(kubectl: Kubectl, organization: str) -> dict[str, Any]:
    """Return the example's Job for this organization, with the image that runtimes have."""
    text = _PROVISION.read_text().replace(_EXAMPLE, organization)
    job: dict[str, Any] = yaml.safe_load(text)
    (container,) = job["spec"]["template"]["spec"]["containers"]
    container["image"] = _runtime_image(kubectl)
    return job


def _runtime_image(kubectl: Kubectl) -> str:
    operator = kubectl.get("deployment", "bulkhead-operator", f"--namespace={install.NAMESPACE}")
    (container,) = operator["spec"]["template"]["spec"]["containers"]
    for variable in container["env"]:
        if variable["name"] == "BULKHEAD_RUNTIME_IMAGE":
            return str(variable["value"])
    raise ClusterError("The operator names no runtime image.", remedy="run `make up` again.")


def _redis_user(kubectl: Kubectl, organization: str, user: str, password: str) -> None:
    """Let the user at its organization's keys only; kept in the file that a restart reads."""
    keys = f"~bulkhead:{organization}:* &bulkhead:{organization}:*"
    rules = f"ACL SETUSER {user} reset on >{password} {keys} {REDIS_COMMANDS}"
    commands = f"AUTH {_credential(kubectl, _REDIS)}\n{rules}\nACL SAVE\n"
    said = kubectl.run(
        "exec", "--stdin", f"--namespace={NAMESPACE}", "deployment/redis", "--", "redis-cli",
        stdin=commands,
    )  # fmt: skip
    if said.split() != ["OK"] * 3:
        raise ClusterError(f"Redis did not take the user: {said.strip()}")


def _credential(kubectl: Kubectl, field: str) -> str:
    template = f'go-template={{{{index .data "{field}" | base64decode}}}}'
    return kubectl.run(
        "get", "secret", _CREDENTIALS, f"--namespace={NAMESPACE}", f"--output={template}"
    )


def _secret(kubectl: Kubectl, namespace: str, name: str, fields: dict[str, str]) -> None:
    metadata = {"name": name, "namespace": namespace}
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": fields}
    kubectl.apply(json.dumps(secret))


def _password() -> str:
    return secrets.token_hex(24)
