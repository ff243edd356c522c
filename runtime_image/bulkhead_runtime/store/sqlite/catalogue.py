"""Policies and API keys that were added through the API."""

import sqlite3
from typing import Literal

import orjson

from bulkhead_runtime.store import refusals
from bulkhead_runtime.store.records import MAX_KEYS, MAX_POLICIES, StoredKey, StoredPolicy


def policies(connection: sqlite3.Connection) -> tuple[StoredPolicy, ...]:
    """Return all policies, ordered by kind and name."""
    found = connection.execute(
        "SELECT kind, name, document, principal, created_at FROM policies ORDER BY kind, name"
    )
    return tuple(StoredPolicy(*row) for row in found)


def put_policy(connection: sqlite3.Connection, policy: StoredPolicy) -> None:
    """Store or replace a policy."""
    connection.execute(
        "INSERT OR REPLACE INTO policies (kind, name, document, principal, created_at) "
        "VALUES (?, ?, ?, ?, ?)",
        (policy.kind, policy.name, policy.document, policy.principal, policy.created_at),
    )
    (count,) = connection.execute("SELECT count(*) FROM policies").fetchone()
    if count > MAX_POLICIES:
        raise refusals.too_many_records("policies", MAX_POLICIES)


def delete_policy(
    connection: sqlite3.Connection, kind: Literal["tool", "model"], name: str
) -> bool:
    """Remove a policy; tell whether it was there."""
    return bool(
        connection.execute(
            "DELETE FROM policies WHERE kind = ? AND name = ?", (kind, name)
        ).rowcount
    )


def keys(connection: sqlite3.Connection) -> tuple[StoredKey, ...]:
    """Return all keys, ordered by name."""
    found = connection.execute(
        "SELECT name, digest, principal, scopes, created_at, expires_at FROM api_keys ORDER BY name"
    )
    return tuple(
        StoredKey(name, digest, principal, tuple(orjson.loads(scopes)), created_at, expires_at)
        for name, digest, principal, scopes, created_at, expires_at in found
    )


def put_key(connection: sqlite3.Connection, key: StoredKey) -> bool:
    """Store a new key; tell whether the name was free."""
    stored = connection.execute(
        "INSERT OR IGNORE INTO api_keys (name, digest, principal, scopes, created_at, expires_at) "
        "VALUES (?, ?, ?, ?, ?, ?)",
        (
            key.name,
            key.digest,
            key.principal,
            orjson.dumps(key.scopes).decode(),
            key.created_at,
            key.expires_at,
        ),
    ).rowcount
    (count,) = connection.execute("SELECT count(*) FROM api_keys").fetchone()
    if count > MAX_KEYS:
        raise refusals.too_many_records("API keys", MAX_KEYS)
    return bool(stored)


def delete_key(connection: sqlite3.Connection, name: str) -> bool:
    """Remove a key; tell whether it was there."""
    return bool(connection.execute("DELETE FROM api_keys WHERE name = ?", (name,)).rowcount)
