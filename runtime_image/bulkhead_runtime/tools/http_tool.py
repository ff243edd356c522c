"""Tools that a package declares as HTTP calls.

Arguments come from a model and reach only where the declaration puts them: whole segments or parts
of segments of the path, the query, the body; never the host. A credential is sent to the hosts
that the platform names for it, encrypted unless the platform has opened the host as a private one.
"""

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final
from urllib.parse import quote

import orjson
from yarl import URL

from bulkhead_api.v1alpha1.agent_package import HttpTool
from bulkhead_api.v1alpha1.tools import Tools
from bulkhead_runtime.policy.patterns import Patterns
from bulkhead_runtime.tools.errors import ToolError, TransientError
from bulkhead_runtime.tools.port import Tool, ToolContext
from bulkhead_runtime.tools.web.access import HttpAccess
from bulkhead_runtime.tools.web.charsets import decode
from bulkhead_runtime.tools.web.client import Answer, is_transient
from bulkhead_runtime.tools.web.targets import parse_target

MAX_ANSWER_BYTES: Final = 49_152
MAX_ERROR_CHARACTERS: Final = 1_000

MIN_HIDDEN_CHARACTERS: Final = 8
"""Shorter credentials are words that answers hold anyway."""

HIDDEN: Final = b"[credential]"

_PLACEHOLDER: Final = re.compile(r"\{([A-Za-z0-9_-]{1,64})\}")
_IN_QUERY: Final = frozenset({"GET", "DELETE"})
_LITERAL: Final = "/%:@!$&'()*+,;=~"
_DOTS: Final = frozenset({".", ".."})
_NEVER_IN_A_PATH: Final = re.compile(r"[/\\\x00-\x1f\x7f]")


class _Host:
    """What the organization's settings say about the host of one tool."""

    def __init__(self, settings: Tools, url: URL) -> None:
        host = url.raw_host or ""
        self.private = host in Patterns(map(str.lower, settings.private_hosts))
        self.credentials = {
            credential.name
            for credential in settings.credentials
            if host in Patterns(map(str.lower, credential.hosts))
        }


class _Call:
    """One declared tool, ready to be called."""

    def __init__(self, declared: HttpTool, settings: Tools, access: HttpAccess) -> None:
        scheme, _, rest = declared.url.partition("://")
        host, _, path = rest.partition("/")
        self._origin = parse_target(f"{scheme}://{host}")
        self._path = f"/{path}"
        self._declared = declared
        self._host = _Host(settings, self._origin)
        self._client = access.private if self._host.private else access.public
        self._credentials = access.credentials

    @property
    def host(self) -> str:
        """Return the host that it calls."""
        return self._origin.raw_host or ""

    async def __call__(self, arguments: Mapping[str, Any], context: ToolContext) -> Any:
        path, rest = fill_path(self._path, arguments)
        url = self._origin.with_path(path, encoded=True)
        in_query = self._declared.method in _IN_QUERY
        if in_query and rest:
            url = url.with_query(_query(rest))
        credential = self._credential()
        answer = await self._client.request(
            self._declared.method,
            url,
            max_bytes=MAX_ANSWER_BYTES,
            headers={**_headers(context), **self._authorization(credential)},
            body=None if in_query else orjson.dumps(rest),
        )
        return _result(_without(credential, answer))

    def _credential(self) -> str:
        """Return the credential that is sent along, empty for none."""
        declared = self._declared
        if declared.credential is None:
            return ""
        if declared.credential not in self._host.credentials:
            raise ToolError(
                "credential_refused",
                f"Credential {declared.credential!r} may not be sent to {self._origin.host!r}: "
                "the platform team names its hosts in spec.tools.credentials.",
            )
        if self._origin.scheme != "https" and not self._host.private:
            raise ToolError(
                "credential_refused", "A credential is sent over https only: change the tool's url."
            )
        return self._credentials.value(declared.credential)

    def _authorization(self, credential: str) -> dict[str, str]:
        if not credential:
            return {}
        name = self._declared.header_name
        bearer = name.lower() == "authorization"
        return {name: f"Bearer {credential}" if bearer else credential}


def _headers(context: ToolContext) -> dict[str, str]:
    told = {"traceparent": context.traceparent} if context.traceparent else {}
    return {"Accept": "application/json, text/*;q=0.9", **told}


def http_tool(declared: HttpTool, settings: Tools, access: HttpAccess) -> Tool:
    """Return the tool that a package declares; raise `ToolError` for an address that is none."""
    call = _Call(declared, settings, access)
    return Tool(
        name=declared.name,
        description=declared.description,
        parameters={"type": "object", **declared.parameters},
        risk=declared.risk,
        handler=call,
        timeout_seconds=declared.timeout_seconds,
        source=f"http:{call.host}",
        idempotent=declared.idempotent,
        foreign_schema=True,
    )


def fill_path(template: str, arguments: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """Return the path with its arguments in place, and the arguments that it has no place for."""
    names: set[str] = set()
    parts: list[str] = []
    # Literal text and the names of placeholders take turns.
    for number, part in enumerate(_PLACEHOLDER.split(template)):
        if number % 2:
            names.add(part)
            parts.append(_segment(part, arguments))
        else:
            parts.append(quote(part, safe=_LITERAL))
    path = "".join(parts)
    if names and not _DOTS.isdisjoint(path.split("/")):
        raise ToolError("invalid_arguments", "The arguments make '..' of the path: change them.")
    return path, {name: value for name, value in arguments.items() if name not in names}


def _segment(name: str, arguments: Mapping[str, Any]) -> str:
    text = _plain(arguments.get(name))
    if not text or _NEVER_IN_A_PATH.search(text):
        raise ToolError(
            "invalid_arguments",
            f"$.{name}: stands in a path and must be a text or number without '/' and '\\'.",
        )
    return quote(text, safe="")


def _plain(value: Any) -> str:
    match value:
        case str():
            return value
        case bool():
            return "true" if value else "false"
        case int() | float():
            return str(value)
        case None:
            return ""
        case _:
            return orjson.dumps(value).decode()


def _query(arguments: Mapping[str, Any]) -> list[tuple[str, str]]:
    pairs: list[tuple[str, str]] = []
    for name, value in arguments.items():
        values = value if isinstance(value, list) else [value]
        pairs.extend((name, _plain(one)) for one in values if one is not None)
    return pairs


def _without(credential: str, answer: Answer) -> Answer:
    """Return the answer of a service without what it repeats of the credential.

    Whoever declares a tool chooses the path, and many hosts have one that tells what it was sent.
    """
    if len(credential) < MIN_HIDDEN_CHARACTERS:
        return answer
    spellings = {credential.encode(), orjson.dumps(credential)[1:-1]}
    body = answer.body
    for spelling in spellings:
        body = body.replace(spelling, HIDDEN)
    return replace(answer, body=body)


def _result(answer: Answer) -> dict[str, Any]:
    text = decode(answer.body, answer.headers.get("Content-Type", ""))
    if is_transient(answer.status):
        raise TransientError("http_error", f"The service answers with {answer.status} for now.")
    if not 200 <= answer.status < 300:  # noqa: PLR2004 (success in HTTP)
        said = f": {text[:MAX_ERROR_CHARACTERS]}" if _is_text(answer) else ""
        raise ToolError("http_error", f"The service answers with status {answer.status}{said}")
    if answer.media_type == "application/json" or answer.media_type.endswith("+json"):
        return {"status": answer.status, "body": _json(answer)}
    if not answer.body:
        return {"status": answer.status}
    if not _is_text(answer):
        kind = answer.media_type[:64] or "untyped"
        raise ToolError("unsupported_media_type", f"The service answers with {kind!r}, no text.")
    cut = {"truncated": True} if answer.truncated else {}
    return {"status": answer.status, "body": text, **cut}


def _json(answer: Answer) -> Any:
    if answer.truncated:
        raise ToolError(
            "result_too_large", f"The answer has more than {MAX_ANSWER_BYTES} bytes: ask for less."
        )
    try:
        return orjson.loads(answer.body)
    except orjson.JSONDecodeError:
        raise ToolError("bad_answer", "The service answers with what is no JSON.") from None


def _is_text(answer: Answer) -> bool:
    kind = answer.media_type
    return kind.startswith("text/") or kind.endswith(("json", "xml"))
