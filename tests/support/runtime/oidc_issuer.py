"""An OIDC issuer that is not ours: discovery, keys that rotate, signed tokens, failures."""

import asyncio
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import jwt
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric import ec, rsa

AUDIENCE = "bulkhead"


@dataclass
class OidcIssuer:
    """Serves on a free port of the loopback; `fetches` counts how often its keys were asked for."""

    url: str = ""
    status: int = 200
    fetches: int = 0
    moved: bool = False
    """Whether those who ask for the keys are sent on to where they are, too."""

    _keys: dict[str, Any] = field(default_factory=dict)
    _public: dict[str, dict[str, Any]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.add_key("first")

    def add_key(self, key_id: str, algorithm: str = "RS256") -> None:
        """Sign with one more key."""
        if algorithm.startswith("ES"):
            key: Any = ec.generate_private_key(ec.SECP256R1())
            public = jwt.algorithms.ECAlgorithm.to_jwk(key.public_key())
        else:
            key = rsa.generate_private_key(65537, 2048)
            public = jwt.algorithms.RSAAlgorithm.to_jwk(key.public_key())
        self._keys[key_id] = key
        self._public[key_id] = {
            **json.loads(public),
            "kid": key_id,
            "alg": algorithm,
            "use": "sig",
        }

    def publish(self, key: dict[str, Any]) -> None:
        """Name one more key, of which tokens know nothing."""
        self._public[key["kid"]] = key

    def withdraw(self, key_id: str) -> None:
        """Name a key no more, which may still sign."""
        del self._public[key_id]

    def token(
        self, *, key_id: str = "first", algorithm: str = "RS256", named: str = "", **claims: Any
    ) -> str:
        """Return a token that holds for an hour, with claims replaced; None leaves one out.

        `named` is the key id that its header shows, the signing key's own unless given.
        """
        now = int(time.time())
        content = {
            "iss": self.url,
            "aud": AUDIENCE,
            "sub": "alice",
            "scope": "agents:run sessions:read",
            "iat": now,
            "exp": now + 3600,
            **claims,
        }
        kept = {name: value for name, value in content.items() if value is not None}
        headers = {"kid": named or key_id}
        return jwt.encode(kept, self._keys[key_id], algorithm=algorithm, headers=headers)

    async def discovery(self, _: web.Request) -> web.Response:
        return web.json_response({"issuer": self.url, "jwks_uri": f"{self.url}/keys"})

    async def keys(self, request: web.Request) -> web.Response:
        self.fetches += 1
        if self.moved and request.path == "/keys":
            raise web.HTTPFound(f"{self.url}/elsewhere")
        return web.json_response({"keys": list(self._public.values())}, status=self.status)


@contextmanager
def running() -> Iterator[OidcIssuer]:
    """Serve an issuer on its own thread and event loop."""
    issuer = OidcIssuer()
    loop = asyncio.new_event_loop()
    started = threading.Event()

    async def serve() -> None:
        app = web.Application()
        app.router.add_get("/.well-known/openid-configuration", issuer.discovery)
        app.router.add_get("/keys", issuer.keys)
        app.router.add_get("/elsewhere", issuer.keys)
        runner = web.AppRunner(app)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        issuer.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        started.set()

    def run() -> None:
        asyncio.set_event_loop(loop)
        loop.run_until_complete(serve())
        loop.run_forever()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    assert started.wait(10)
    try:
        yield issuer
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
