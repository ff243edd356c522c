"""Secrets that are planted where real ones lie, to be looked for in everything that comes out."""

import hashlib
import json
import secrets
from collections.abc import Iterable
from dataclasses import dataclass, field
from urllib.parse import quote, urlsplit

from tests.support.runtime_process import Mount, RuntimeFiles

MOUNTED = (
    "api-key/token",
    "internal/token",
    "providers/stub",
    "providers/other",
    "api-keys/declared",
    "tools/desk",
    "mcp/crm",
    "telemetry/headers",
    "sentry/dsn",
)
"""Files of Secrets into which a canary is put; the stores' own passwords are canaries, too."""

SHOWN = (
    "key made through the API",
    "token of a key mounted as its hash",
    "token of a stranger",
    "token in a query",
    "token in a cookie",
    "token of an issuer",
    "idempotency key",
)
"""What clients show, and nobody keeps."""

WRITTEN = ("text of a user", "argument of a tool", "text that is refused", "reason of a tool")
"""What users write: it may be in messages and in answers to them, and nowhere else."""


@dataclass
class Canaries:
    """All planted secrets by what they are."""

    secret: dict[str, str] = field(default_factory=dict)
    written: dict[str, str] = field(default_factory=dict)

    @classmethod
    def planted(cls, files: RuntimeFiles, *, sentry_dsn: str) -> "Canaries":
        """Make them, and put those of Secrets into their files; stores are mounted already."""
        found = cls(
            {name: _canary() for name in (*MOUNTED, *SHOWN)},
            {name: _canary() for name in WRITTEN},
        )
        found._mount(files, sentry_dsn)
        for name in ("postgres/dsn", "redis/url"):
            address = (files.directory / "secrets" / name).read_text()
            found.secret[name] = str(urlsplit(address).password)
        return found

    def __getitem__(self, name: str) -> str:
        return (self.secret | self.written)[name]

    def found_in(self, text: str, *, told: bool = False) -> list[str]:
        """Return which canaries a text holds; what is `told` to users may be what they wrote."""
        looked_for = self.secret if told else self.secret | self.written
        return [
            name
            for name, value in looked_for.items()
            if any(spelling in text for spelling in _spellings(value))
        ]

    def _mount(self, files: RuntimeFiles, sentry_dsn: str) -> None:
        hashed = hashlib.sha256(self["token of a key mounted as its hash"].encode()).hexdigest()
        contents = {
            **{name: self[name] for name in MOUNTED},
            "telemetry/headers": f"X-Collector-Key: {self['telemetry/headers']}",
            "sentry/dsn": sentry_dsn.replace("publickey0123", self["sentry/dsn"]),
            "api-keys/hashed": f"sha256:{hashed}",
        }
        folders: dict[str, dict[str, bytes]] = {}
        for name, content in contents.items():
            folder, _, file = name.partition("/")
            folders.setdefault(folder, {})[file] = content.encode()
        kept = {
            "api-key": files.api_key,
            "internal": files.internal,
            "providers": files.providers,
            "api-keys": files.api_keys,
        }
        for folder, mounted in folders.items():
            (kept.get(folder) or Mount(files.directory / "secrets" / folder)).switch(mounted)


def _canary() -> str:
    return f"canary-{secrets.token_hex(12)}"


def _spellings(value: str) -> Iterable[str]:
    return {value, json.dumps(value)[1:-1], quote(value, safe="")}
