"""The two Secrets that the operator generates; their tokens are given, never made, here."""

from base64 import b64decode, b64encode

from bulkhead_api.names import API_KEY_SECRET, INTERNAL_SECRET, TOKEN_FIELD
from bulkhead_operator.cluster.port import Manifest
from bulkhead_operator.resources import annotations
from bulkhead_operator.resources.blueprint import Blueprint


def api_key(blueprint: Blueprint, token: str, rotation: str | None) -> Manifest:
    """Return the tenant's API key; nobody owns it, the deletion policy decides about it."""
    marks = {annotations.HANDLED_ROTATION: rotation} if rotation else None
    return blueprint.child("v1", "Secret", API_KEY_SECRET, owned=False, annotations=marks) | {
        "type": "Opaque",
        "data": {TOKEN_FIELD: encoded(token)},
    }


def internal(blueprint: Blueprint, token: str) -> Manifest:
    """Return the token with which the operator asks the runtime for its state."""
    return blueprint.child("v1", "Secret", INTERNAL_SECRET) | {
        "type": "Opaque",
        "data": {TOKEN_FIELD: encoded(token)},
    }


def rotated(token: str, rotation: str) -> Manifest:
    """Return the patch that replaces the key and notes, in the same write, why."""
    return {
        "metadata": {"annotations": {annotations.HANDLED_ROTATION: rotation}},
        "data": {TOKEN_FIELD: encoded(token)},
    }


def encoded(token: str) -> str:
    """Return a value as Secrets hold it."""
    return b64encode(token.encode()).decode()


def field_of(secret: Manifest, name: str) -> str:
    """Return a field of a live Secret, empty when absent or not text."""
    try:
        return b64decode((secret.get("data") or {}).get(name, ""), validate=True).decode()
    except ValueError:
        return ""
