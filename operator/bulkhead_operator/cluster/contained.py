"""Tells whether a live object contains everything that is wanted of it.

The live object always has more: defaults, other managers' fields, status. So what is wanted is
compared as a subset, and in canonical form, since the API server rewrites quantities. Lists that
Kubernetes merges by a key are matched by that key, all others item by item.

A wanted empty list, and an empty map of strings, equals an absent one. Every other wanted value
must be there, False included: absent may mean the opposite (automountServiceAccountToken).
"""

from collections.abc import Mapping, Sequence
from decimal import Decimal, InvalidOperation
from typing import Any, Final

import orjson

_QUANTITIES: Final = frozenset(
    {"limits", "requests", "hard", "default", "defaultRequest", "max", "min", "capacity"}
)
_QUANTITY_FIELDS: Final = frozenset({"sizeLimit", "divisor"})
_INT_OR_STRING: Final = frozenset(
    {"maxSurge", "maxUnavailable", "minAvailable", "port", "targetPort"}
)
_STRING_MAPS: Final = frozenset(
    {"labels", "annotations", "matchLabels", "nodeSelector", "data", "binaryData", *_QUANTITIES}
)
_LIST_KEYS: Final[Mapping[str, tuple[str, ...]]] = {
    "containers": ("name",),
    "initContainers": ("name",),
    "volumes": ("name",),
    "env": ("name",),
    "imagePullSecrets": ("name",),
    "volumeMounts": ("mountPath",),
    "hostAliases": ("ip",),
    "ownerReferences": ("uid",),
    "topologySpreadConstraints": ("topologyKey", "whenUnsatisfiable"),
    "conditions": ("type",),
}
_SELECTORS: Final = frozenset(
    {"podSelector", "namespaceSelector", "labelSelector", "selector", "matchLabels"}
)
"""Whole values: what somebody adds to one changes what it selects."""
_SETS: Final = frozenset({"finalizers"})
_KEY_DEFAULTS: Final = {"protocol": "TCP"}

_SUFFIXES: Final[Mapping[str, Decimal]] = {
    "n": Decimal("1e-9"),
    "u": Decimal("1e-6"),
    "m": Decimal("1e-3"),
    "": Decimal(1),
    "k": Decimal(10) ** 3,
    "M": Decimal(10) ** 6,
    "G": Decimal(10) ** 9,
    "T": Decimal(10) ** 12,
    "P": Decimal(10) ** 15,
    "E": Decimal(10) ** 18,
    "Ki": Decimal(2) ** 10,
    "Mi": Decimal(2) ** 20,
    "Gi": Decimal(2) ** 30,
    "Ti": Decimal(2) ** 40,
    "Pi": Decimal(2) ** 50,
    "Ei": Decimal(2) ** 60,
}


def contained(wanted: Mapping[str, Any], live: Mapping[str, Any]) -> bool:
    """Tell whether the live object has all that the manifest wants.

    apiVersion and kind are not compared: items of lists do not carry them.
    """
    return all(
        _field(name, value, live.get(name), parent="")
        for name, value in wanted.items()
        if name not in {"apiVersion", "kind"}
    )


def quantity(value: object) -> Decimal | None:
    """Return a Kubernetes quantity as a number, None when it is none."""
    text = str(value).strip()
    number = text.rstrip("numkMGTPEi")
    suffix = text[len(number) :]
    # "1E" is an exponent's beginning nowhere but here: 1 exa.
    if suffix not in _SUFFIXES:
        return None
    try:
        return Decimal(number) * _SUFFIXES[suffix]
    except InvalidOperation:
        return None


def stripped(value: Any) -> Any:
    """Return the value without None: server-side apply does not take nulls."""
    if isinstance(value, dict):
        return {name: stripped(item) for name, item in value.items() if item is not None}
    if isinstance(value, list | tuple):
        return [stripped(item) for item in value if item is not None]
    return value


def sent(manifest: Any) -> orjson.Fragment:
    """Return a manifest as it is sent: as JSON, without None."""
    content = orjson.dumps(manifest)
    # Few have any, and to look for the word costs next to nothing beside a copy without them.
    return orjson.Fragment(orjson.dumps(stripped(manifest)) if b"null" in content else content)


def _field(name: str, wanted: Any, live: Any, *, parent: str) -> bool:
    if wanted is None:
        return True
    if isinstance(wanted, dict):
        return _map(name, wanted, live)
    if isinstance(wanted, list | tuple):
        return _list(name, [item for item in wanted if item is not None], live)
    return _scalar(name, wanted, live, parent)


def _map(name: str, wanted: Mapping[str, Any], live: Any) -> bool:
    if live is None:
        return not wanted and name in _STRING_MAPS
    if not isinstance(live, dict):
        return False
    if name in _SELECTORS and any(live[field] for field in live.keys() - wanted.keys()):
        return False
    return all(
        _field(field, value, live.get(field), parent=name) for field, value in wanted.items()
    )


def _list(name: str, wanted: Sequence[Any], live: Any) -> bool:
    if live is None:
        return not wanted
    if not isinstance(live, list):
        return False
    if name in _SETS:
        return all(item in live for item in wanted)
    by_key = _by_key(name, wanted)
    if by_key is not None:
        live_by_key = _by_key(name, live) or {}
        return all(
            _field(name, item, live_by_key.get(key), parent=name) for key, item in by_key.items()
        )
    return len(wanted) == len(live) and all(
        _field(name, item, other, parent=name) for item, other in zip(wanted, live, strict=True)
    )


def _list_keys(name: str, items: Sequence[Any]) -> tuple[str, ...]:
    if name == "ports" and items and isinstance(items[0], dict):
        # Three kinds of list have this name; a policy's is atomic, an extra port there is a hole.
        if "containerPort" in items[0]:
            return ("containerPort", "protocol")
        if "targetPort" in items[0]:
            return ("port", "protocol")
    return _LIST_KEYS.get(name, ())


def _by_key(name: str, items: Sequence[Any]) -> Mapping[tuple[str, ...], Any] | None:
    """Return the items by their natural key, None unless each has one of its own."""
    parts = _list_keys(name, items)
    if not parts or not all(isinstance(item, dict) for item in items):
        return None
    by_key = {
        tuple(str(item.get(part, _KEY_DEFAULTS.get(part))) for part in parts): item
        for item in items
    }
    return by_key if len(by_key) == len(items) else None


def _scalar(name: str, wanted: Any, live: Any, parent: str) -> bool:
    if live is None:
        return False
    if isinstance(wanted, bool) or isinstance(live, bool):
        return wanted is live
    if wanted == live:
        return True
    if parent in _QUANTITIES or name in _QUANTITY_FIELDS:
        number = quantity(wanted)
        return number is not None and number == quantity(live)
    return name in _INT_OR_STRING and str(wanted) == str(live)
