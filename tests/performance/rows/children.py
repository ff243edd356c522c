"""What the operator makes for one organization, as manifests that others can make too.

Taken from a live organization by field ownership: exactly the fields that the operator wrote,
without what the API server filled in, and independent of how the operator builds them.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bulkhead_api.names import FIELD_MANAGER, default_namespace

Manifest = dict[str, Any]

EXAMPLE = "zz-example-zz"
"""Name of the organization that is looked at: unmistakable wherever it turns up in a value."""

_ORGANIZATION, _UID = "@organization@", "@uid@"
# The namespace and the right to write Secrets in it come first; Secrets come late, when that right
# is known; a quota without figures in its status refuses what it counts, so it comes last.
_ORDER = {"Namespace": 0, "RoleBinding": 1, "Secret": 3, "ResourceQuota": 4}
_ANYWHERE = 2


def written(kubectl: Callable[..., str], name: str = EXAMPLE) -> list[Manifest]:
    """Return the children of a live organization in an order in which they can be applied."""
    namespace = default_namespace(name)
    kinds = kubectl("api-resources", "--verbs=list", "--namespaced", "--output=name").split()
    # Pods are the Deployment's; the operator only annotates them.
    kinds = [kind for kind in kinds if kind not in {"pods", "events", "events.events.k8s.io"}]
    show = ("--output=json", "--show-managed-fields")
    inside = json.loads(kubectl("get", ",".join(kinds), "--namespace", namespace, *show))["items"]
    around = json.loads(kubectl("get", "namespace", namespace, *show))
    found = [child for live in [around, *inside] if (child := fields_of_ours(live)) is not None]
    return sorted(found, key=lambda child: _ORDER.get(child["kind"], _ANYWHERE))


def template(children: list[Manifest], uid: str, path: Path) -> Path:
    """Write the children with placeholders for the organization's name and uid."""
    text = json.dumps(children).replace(EXAMPLE, _ORGANIZATION)
    path.write_text(text.replace(uid, _UID))
    path.chmod(0o600)
    return path


def fields_of_ours(live: Manifest) -> Manifest | None:
    """Return the part of a live object that the operator wrote; None when it wrote nothing."""
    metadata = live["metadata"]
    fields: dict[str, Any] = {}
    for entry in metadata.get("managedFields", ()):
        if entry["manager"] == FIELD_MANAGER and not entry.get("subresource"):
            _merge(fields, entry["fieldsV1"])
    if not fields:
        return None
    content: Manifest = _picked(live, fields)
    name = {key: metadata[key] for key in ("name", "namespace") if key in metadata}
    content["metadata"] = {**name, **content.get("metadata", {})}
    return {"apiVersion": live["apiVersion"], "kind": live["kind"], **content}


def _merge(into: dict[str, Any], other: dict[str, Any]) -> None:
    for key, value in other.items():
        _merge(into.setdefault(key, {}), value)


def _picked(node: Any, fields: dict[str, Any]) -> Any:
    """Return the part of `node` that a fieldsV1 tree names; a tree without fields names it all."""
    if set(fields) <= {"."}:
        return node
    if isinstance(node, list):
        return _picked_items(node, fields)
    return {
        key.removeprefix("f:"): _picked(node[key.removeprefix("f:")], below)
        for key, below in fields.items()
        if key.startswith("f:") and key.removeprefix("f:") in node
    }


def _picked_items(items: list[Any], fields: dict[str, Any]) -> list[Any]:
    picked = []
    for item in items:
        for key, below in fields.items():
            kind, _, selector = key.partition(":")
            if kind == "v" and json.loads(selector) == item:
                picked.append(item)
            elif kind == "k" and json.loads(selector).items() <= item.items():
                # The key may be one of the API server's defaults, but it tells the item apart.
                picked.append(json.loads(selector) | _picked(item, below))
    return picked
