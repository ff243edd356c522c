"""The client against an API server that misbehaves; only the wire is stood in for."""

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from aiohttp import web

from bulkhead_operator.cluster.client import ApiClient, unfenced
from bulkhead_operator.cluster.credentials import Credentials, Token
from bulkhead_operator.errors import (
    ClusterError,
    Conflict,
    Forbidden,
    Gone,
    LeaseLost,
    Refused,
)
from tests.support.answering import answering

Answer = Callable[[web.BaseRequest], web.Response]


class Server:
    """Gives the prepared answers in turn, the last one for ever."""

    def __init__(self) -> None:
        self.answers: list[Answer] = []
        self.requests: list[web.BaseRequest] = []
        self.url = ""

    async def handle(self, request: web.BaseRequest) -> web.Response:
        await request.read()
        self.requests.append(request)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        return answer(request)


def saying(status: int, *, reason: str = "", **more: object) -> Answer:
    def answer(_: web.BaseRequest) -> web.Response:
        document = {"kind": "Status", "reason": reason, "message": "said so", **more}
        return web.json_response(document, status=status, headers={"Retry-After": "0"})

    return answer


def cut(request: web.BaseRequest) -> web.Response:
    assert request.transport is not None
    request.transport.close()
    return web.Response()


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    server = Server()
    async with answering(server.handle) as port:
        server.url = f"http://127.0.0.1:{port}"
        yield server


@pytest.fixture
async def client(server: Server) -> AsyncIterator[ApiClient]:
    async with ApiClient(Credentials(server.url), user_agent="bulkhead-operator/1") as client:
        yield client


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
async def test_a_read_is_tried_again(server: Server, client: ApiClient, status: int) -> None:
    server.answers = [saying(status), saying(200)]
    assert (await client.read("/api"))["message"] == "said so"
    assert len(server.requests) == 2
    assert server.requests[0].headers["User-Agent"] == "bulkhead-operator/1"


async def test_tries_are_bounded(server: Server, client: ApiClient) -> None:
    server.answers = [saying(503)]
    with pytest.raises(ClusterError, match="503"):
        await client.read("/api")
    assert len(server.requests) == 5


async def test_a_cut_connection_is_tried_again_for_what_can_be_sent_twice(
    server: Server, client: ApiClient
) -> None:
    server.answers = [cut, saying(200)]
    await client.write("PATCH", "/api", {}, fence=unfenced)
    assert len(server.requests) == 2


async def test_a_create_is_never_sent_twice_after_it_may_have_acted(
    server: Server, client: ApiClient
) -> None:
    for broken in (cut, saying(500)):
        server.answers, server.requests = [broken], []
        with pytest.raises(ClusterError):
            await client.write("POST", "/api", {}, fence=unfenced)
        assert len(server.requests) == 1


async def test_a_create_that_was_told_to_come_later_is_sent_again(
    server: Server, client: ApiClient
) -> None:
    server.answers = [saying(429), saying(201)]
    await client.write("POST", "/api", {}, fence=unfenced)
    assert len(server.requests) == 2


async def test_the_fence_is_asked_before_every_single_sending(
    server: Server, client: ApiClient
) -> None:
    server.answers = [saying(503)]
    leading = [True, True]

    def fence() -> None:
        if not leading:
            raise LeaseLost("LeaseLost", "another replica leads")
        leading.pop()

    with pytest.raises(LeaseLost):
        await client.write("PATCH", "/api", {}, fence=fence)
    assert len(server.requests) == 2


async def test_a_write_that_waited_for_its_turn_asks_the_fence_again(server: Server) -> None:
    leading = asyncio.Event()
    leading.set()

    def losing(_: web.BaseRequest) -> web.Response:
        leading.clear()
        return web.json_response({})

    def fence() -> None:
        if not leading.is_set():
            raise LeaseLost("LeaseLost", "another replica leads")

    server.answers = [losing]
    async with ApiClient(Credentials(server.url), user_agent="test", connections=1) as client:
        writes = [client.write("PATCH", "/api", {}, fence=fence) for _ in range(2)]
        first, second = await asyncio.gather(*writes, return_exceptions=True)
    assert first == {}
    assert isinstance(second, LeaseLost)
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (400, Refused),
        (403, Forbidden),
        (404, Gone),
        (409, Conflict),
        (410, Gone),
        (422, Refused),
        (418, ClusterError),
    ],
)
async def test_an_answer_that_is_an_error_says_what_was_asked(
    server: Server, client: ApiClient, status: int, error: type[ClusterError]
) -> None:
    server.answers = [saying(status, reason="Because")]
    with pytest.raises(error, match=f"GET /api: {status} said so") as raised:
        await client.read("/api")
    assert raised.value.status == status
    assert raised.value.reason == "Because"
    assert len(server.requests) == 1


async def test_a_namespace_that_terminates_is_gone(server: Server, client: ApiClient) -> None:
    server.answers = [saying(403, details={"causes": [{"reason": "NamespaceTerminating"}]})]
    with pytest.raises(Gone):
        await client.read("/api")


async def test_what_an_api_server_says_about_a_secret_is_not_repeated(
    server: Server, client: ApiClient
) -> None:
    server.answers = [saying(422)]
    with pytest.raises(Refused) as raised:
        await client.write("PATCH", "/api/v1/namespaces/a/secrets/b", {}, fence=unfenced)
    assert "said so" not in str(raised.value)


@pytest.mark.parametrize("content", [b"not JSON", b"[1]"])
async def test_an_answer_that_is_no_object_is_an_error(
    server: Server, client: ApiClient, content: bytes
) -> None:
    server.answers = [lambda _: web.Response(body=content)]
    with pytest.raises(ClusterError, match="the answer is not"):
        await client.read("/api")


async def test_nobody_there_is_an_error_after_bounded_tries() -> None:
    async with ApiClient(Credentials("http://127.0.0.1:1"), user_agent="x") as client:
        with pytest.raises(ClusterError, match="no answer"):
            await client.read("/api")


async def test_a_refused_token_is_read_again_from_its_file(server: Server, tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("old\n")

    def renew(_: web.BaseRequest) -> web.Response:
        file.write_text("new\n")
        return web.json_response({}, status=401)

    server.answers = [renew, saying(200)]
    credentials = Credentials(server.url, token=Token(file=file))
    async with ApiClient(credentials, user_agent="x") as client:
        await client.read("/api")
    sent = [request.headers["Authorization"] for request in server.requests]
    assert sent == ["Bearer old", "Bearer new"]
