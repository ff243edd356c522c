"""Web pages that are not ours: a server on a thread, with pages that behave and pages that hurt.

`/pages/NAME` answers what a test put there; `/redirect?to=URL` redirects; `/echo` tells what it
was sent; `/hang` never answers; `/bomb` sends a little that is a hundred megabytes unpacked.
"""

import asyncio
import gzip
import json
import secrets
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any
from urllib.parse import parse_qs

import aiohttp.abc
import uvicorn

Page = tuple[int, dict[str, str], bytes]


@dataclass
class WebServer:
    """The application; `requests` are (method, path, headers) of everything that arrived."""

    address: str = ""
    port: int = 0
    pages: dict[str, Page] = field(default_factory=dict)
    requests: list[tuple[str, str, dict[str, str]]] = field(default_factory=list)

    def put(
        self, name: str, body: bytes, kind: str = "text/html", *, status: int = 200, **headers: str
    ) -> str:
        """Serve a page and return its path."""
        named = {key.replace("_", "-"): value for key, value in headers.items()}
        self.pages[name] = (status, {"content-type": kind, **named}, body)
        return f"/pages/{name}"

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        headers = {key.decode(): value.decode() for key, value in scope["headers"]}
        path = scope["path"]
        self.requests.append((scope["method"], path, headers))
        if path == "/hang":
            await asyncio.Event().wait()
        status, sent, body = await self._page(scope, headers, receive)
        raw = [(key.encode(), value.encode()) for key, value in sent.items()]
        await send({"type": "http.response.start", "status": status, "headers": raw})
        await send({"type": "http.response.body", "body": body})

    async def _page(self, scope: dict[str, Any], headers: dict[str, str], receive: Any) -> Page:
        path, query = scope["path"], scope["query_string"].decode()
        if path == "/redirect":
            return 302, {"location": parse_qs(query)["to"][0]}, b""
        if path == "/bomb":
            return 200, {"content-type": "text/plain", "content-encoding": "gzip"}, bomb()
        if path.startswith("/echo"):
            return 200, {"content-type": "application/json"}, await _told(scope, headers, receive)
        return self.pages.get(path.removeprefix("/pages/"), (404, {}, b"not here"))


@lru_cache
def bomb() -> bytes:
    """Return what unpacks to a hundred megabytes."""
    return gzip.compress(b"a" * 100_000_000)


async def _told(scope: dict[str, Any], headers: dict[str, str], receive: Any) -> bytes:
    body = (await receive()).get("body", b"").decode()
    told = {
        "method": scope["method"],
        "path": scope["raw_path"].decode(),
        "query": scope["query_string"].decode(),
        "headers": headers,
        "body": json.loads(body) if body else None,
    }
    return json.dumps(told).encode()


class Names(aiohttp.abc.AbstractResolver):
    """A name server that is not ours: each name has answers, given in turn, the last for ever."""

    def __init__(self, **answers: list[str]) -> None:
        self.asked: list[str] = []
        self._answers = {name.replace("_", "."): list(given) for name, given in answers.items()}

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[aiohttp.abc.ResolveResult]:
        self.asked.append(host)
        answers = self._answers.get(host)
        if not answers:
            raise OSError(f"no such name {host}")
        found = answers.pop(0) if len(answers) > 1 else answers[0]
        return [
            {
                "hostname": host,
                "host": address,
                "port": port,
                "family": socket.AF_INET6 if ":" in address else socket.AF_INET,
                "proto": 0,
                "flags": socket.AI_NUMERICHOST,
            }
            for address in found.split(",")
        ]

    async def close(self) -> None:
        """Hold nothing that needs closing."""


def _listener() -> socket.socket:
    address = ".".join(["127", *(str(secrets.randbelow(250) + 2) for _ in range(3))])
    for port in (8080, 8443, 80, 443):
        try:
            return socket.create_server((address, port))
        except OSError:
            continue
    raise OSError("no port of the web is free: end what listens on 80, 443, 8080 and 8443")


@contextmanager
def web_server() -> Iterator[WebServer]:
    """Serve on a port of the web, at an address of the loopback network that nobody else has."""
    web = WebServer()
    listener = _listener()
    web.address, web.port = listener.getsockname()
    server = uvicorn.Server(
        uvicorn.Config(
            web, log_level="critical", access_log=False, lifespan="off", timeout_graceful_shutdown=0
        )
    )
    thread = threading.Thread(
        target=asyncio.run, args=(server.serve(sockets=[listener]),), daemon=True
    )
    thread.start()
    try:
        yield web
    finally:
        server.should_exit = True
        server.force_exit = True
        thread.join()
        listener.close()
