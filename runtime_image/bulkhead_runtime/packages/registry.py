"""Reads from an OCI registry (distribution spec v2) what a package pins by digest.

The host is a tenant's choice, so it is reached under the rules for addresses of tools. A pull
Secret is shown to the registry that it names and to the realm that this registry sends for a
token, encrypted unless the platform has opened the host as a private one.
"""

import base64
import binascii
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import orjson
from yarl import URL

from bulkhead_runtime.packages.errors import SourceError
from bulkhead_runtime.tools.errors import ToolError
from bulkhead_runtime.tools.web.access import Way
from bulkhead_runtime.tools.web.client import Answer
from bulkhead_runtime.tools.web.targets import parse_target

MAX_REDIRECTS: Final = 3
MAX_TOKEN_BYTES: Final = 64 * 1024

_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
_DENIED: Final = frozenset({401, 403})
_OK: Final = 200
_UNAUTHORIZED: Final = 401
_PARAMETER: Final = re.compile(r'([a-z]+)="([^"]*)"')


@dataclass(frozen=True, slots=True)
class Login:
    """Who asks."""

    user: str
    password: str

    @property
    def basic(self) -> str:
        """Return the header's value."""
        pair = base64.b64encode(f"{self.user}:{self.password}".encode())
        return f"Basic {pair.decode()}"


class Registry:
    """One repository; `way_to` says how a host is reached."""

    def __init__(
        self, host: str, repository: str, way_to: Callable[[str], Way], login: Login | None
    ) -> None:
        self.host = host
        self._repository = repository
        self._way_to = way_to
        self._login = login
        self._authorization: str | None = None
        self._scheme = "https"

    async def read(self, kind: str, digest: str, media_type: str, max_bytes: int) -> bytes:
        """Return a manifest or blob (`manifests` or `blobs`); raise `SourceError` where it fails.

        What is returned is not compared with its digest yet.
        """
        path = f"{self.host}/v2/{self._repository}/{kind}/{digest}"
        answer = await self._asked(path, media_type, max_bytes)
        if answer.status in _DENIED:
            raise SourceError(
                f"registry {self.host} refuses to hand it out: name a Secret that may read it in "
                "spec.source.oci.pullSecretName"
            )
        if answer.status != _OK:
            raise SourceError(f"registry {self.host} answers with status {answer.status}")
        if answer.truncated:
            raise SourceError(f"it has more than the {max_bytes} bytes that are allowed")
        return answer.body

    async def _asked(self, path: str, media_type: str, max_bytes: int) -> Answer:
        answer = await self._first(path, media_type, max_bytes)
        if answer.status == _UNAUTHORIZED and self._authorization is None:
            challenge = answer.headers.get("WWW-Authenticate", "")
            self._authorization = await self._authorize(challenge)
            if self._authorization is not None:
                url = parse_target(f"{self._scheme}://{path}")
                answer = await self._got(url, media_type, max_bytes)
        return answer

    async def _first(self, path: str, media_type: str, max_bytes: int) -> Answer:
        """Ask encrypted; a private host may have nothing but plain HTTP."""
        try:
            return await self._got(parse_target(f"{self._scheme}://{path}"), media_type, max_bytes)
        except ToolError as error:
            plain = self._scheme == "https" and self._way_to(_name(self.host)).private
            if error.code != "unreachable" or not plain:
                raise
        self._scheme = "http"
        return await self._got(parse_target(f"http://{path}"), media_type, max_bytes)

    async def _got(self, url: URL, media_type: str, max_bytes: int) -> Answer:
        """Ask, following redirects, which go to other hosts without saying who asks."""
        origin = url.origin()
        for _ in range(MAX_REDIRECTS + 1):
            headers = {"Accept": media_type}
            if self._authorization is not None and url.origin() == origin:
                headers["Authorization"] = self._authorization
            client = self._way_to(url.raw_host or "").client
            answer = await client.request("GET", url, max_bytes=max_bytes, headers=headers)
            if answer.status not in _REDIRECTS:
                return answer
            url = parse_target(str(url.join(URL(answer.headers.get("Location", "")))))
        raise SourceError(f"registry {self.host} redirects more than {MAX_REDIRECTS} times")

    async def _authorize(self, challenge: str) -> str | None:
        """Return what to show, as the registry asks for it; None where there is nothing."""
        scheme, _, parameters = challenge.partition(" ")
        if scheme.lower() == "basic":
            return self._login.basic if self._login else None
        if scheme.lower() != "bearer":
            return None
        named = dict(_PARAMETER.findall(parameters))
        realm = parse_target(named.get("realm", ""))
        query = {"scope": f"repository:{self._repository}:pull"}
        if "service" in named:
            query["service"] = named["service"]
        return f"Bearer {await self._token(realm.update_query(query))}"

    async def _token(self, realm: URL) -> str:
        way = self._way_to(realm.raw_host or "")
        headers = {"Accept": "application/json"}
        if self._login is not None:
            if realm.scheme != "https" and not way.private:
                raise SourceError(f"registry {self.host} asks for the pull Secret unencrypted")
            headers["Authorization"] = self._login.basic
        answer = await way.client.request("GET", realm, max_bytes=MAX_TOKEN_BYTES, headers=headers)
        try:
            told = orjson.loads(answer.body) if answer.status == _OK else {}
        except orjson.JSONDecodeError:
            told = {}
        token = (told.get("token") or told.get("access_token")) if isinstance(told, dict) else None
        if not isinstance(token, str) or not token.isascii() or not token.isprintable():
            raise SourceError(
                f"registry {self.host} gives no token (status {answer.status}): check the Secret "
                "that spec.source.oci.pullSecretName names"
            )
        return token


def login_of(docker_config: bytes, host: str) -> Login:
    """Return what a Secret of type kubernetes.io/dockerconfigjson holds for a registry.

    Raises `SourceError` where it holds nothing for it.
    """
    try:
        entry = orjson.loads(docker_config)["auths"][host]
        if "auth" in entry:
            pair = base64.b64decode(entry["auth"], validate=True).decode()
            user, colon, password = pair.partition(":")
        else:
            user, colon, password = entry["username"], ":", entry["password"]
    except (orjson.JSONDecodeError, KeyError, TypeError, binascii.Error, UnicodeDecodeError):
        user, colon, password = "", "", ""
    if not (isinstance(user, str) and isinstance(password, str) and colon and user):
        raise SourceError(
            f"the Secret that spec.source.oci.pullSecretName names holds no login for {host}: make "
            f"it with kubectl create secret docker-registry --docker-server={host}"
        )
    return Login(user, password)


def _name(host: str) -> str:
    return host.partition(":")[0].lower()
