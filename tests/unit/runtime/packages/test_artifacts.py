"""Artifacts of packages, fetched from a real registry."""

import json
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from bulkhead_api.package_manifest import LAYER_MEDIA_TYPE, PackageManifest
from bulkhead_api.v1alpha1.package_source import OciSource
from bulkhead_api.v1alpha1.tools import Tools
from bulkhead_operator.packaging.artifact import Artifact, digest_of
from bulkhead_runtime.packages.artifacts import Artifacts
from bulkhead_runtime.packages.blobs import MAX_BLOBS, Blobs
from bulkhead_runtime.packages.errors import SourceError
from bulkhead_runtime.tools.web.access import Way
from bulkhead_runtime.tools.web.client import GuardedClient
from tests.support.runtime.oci_registry import OciRegistry, folder_of, oci_registry
from tests.support.runtime_process import agent

SETTINGS = Tools()
MANIFEST = PackageManifest.of("support", "1.0.0", (agent("support"),), ())


@pytest.fixture(scope="module")
def registry() -> Iterator[OciRegistry]:
    with oci_registry() as running:
        yield running


@asynccontextmanager
async def fetching(
    directory: Path, *, private: bool = True, permits: Callable[[str], bool] = lambda _: True
) -> AsyncIterator[Artifacts]:
    """What fetches; every host is opened as a private one unless told not to."""
    client = GuardedClient(permits)
    blobs = Blobs(directory / "blobs")
    try:
        yield Artifacts(directory / "registries", blobs, lambda *_: Way(client, private))
    finally:
        await client.aclose()


def _pinned(reference: str, secret: str | None = None) -> OciSource:
    return OciSource(reference=reference, pull_secret_name=secret)


async def test_what_the_packaging_command_pushes_is_fetched(
    registry: OciRegistry, tmp_path: Path
) -> None:
    reference = await registry.push(MANIFEST)
    async with fetching(tmp_path) as artifacts:
        assert await artifacts.fetch(_pinned(reference), SETTINGS) == MANIFEST.written()


async def test_what_was_fetched_once_needs_no_registry_again(tmp_path: Path) -> None:
    with oci_registry() as registry:
        reference = await registry.push(MANIFEST)
        async with fetching(tmp_path) as artifacts:
            await artifacts.fetch(_pinned(reference), SETTINGS)
    async with fetching(tmp_path) as artifacts:
        assert await artifacts.fetch(_pinned(reference), SETTINGS) == MANIFEST.written()


async def test_what_was_kept_and_changed_on_the_volume_is_fetched_again(
    registry: OciRegistry, tmp_path: Path
) -> None:
    reference = await registry.push(MANIFEST)
    async with fetching(tmp_path) as artifacts:
        await artifacts.fetch(_pinned(reference), SETTINGS)
        for kept in (tmp_path / "blobs").iterdir():
            kept.write_bytes(b"tampered")
        assert await artifacts.fetch(_pinned(reference), SETTINGS) == MANIFEST.written()


async def test_a_layer_that_was_changed_in_the_registry_is_refused(tmp_path: Path) -> None:
    with oci_registry() as registry:
        reference = await registry.push(MANIFEST)
        registry.tamper(digest_of(MANIFEST.written()))
        async with fetching(tmp_path) as artifacts:
            with pytest.raises(SourceError, match=r"damaged or tampered with"):
                await artifacts.fetch(_pinned(reference), SETTINGS)


def _artifact(*layers: tuple[str, bytes]) -> bytes:
    described = [
        {"mediaType": kind, "digest": digest_of(content), "size": len(content)}
        for kind, content in layers
    ]
    empty = {"mediaType": "application/vnd.oci.empty.v1+json", "digest": digest_of(b"{}")}
    return json.dumps(
        {
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": {**empty, "size": 2},
            "layers": described,
        }
    ).encode()


TOO_LARGE = b" " * (900 * 1024 + 1)
NO_PACKAGES = {
    "a layer of another type": (("application/octet-stream", b"x"),),
    "two layers": ((LAYER_MEDIA_TYPE, b"x"), (LAYER_MEDIA_TYPE, b"y")),
    "no layer": (),
    "a layer that is too large": ((LAYER_MEDIA_TYPE, TOO_LARGE),),
}


@pytest.mark.parametrize("case", NO_PACKAGES)
async def test_an_artifact_is_refused_that_has(
    registry: OciRegistry, tmp_path: Path, case: str
) -> None:
    layers = NO_PACKAGES[case]
    blobs = [content for _, content in layers]
    reference = await registry.push_blobs(_artifact(*layers), b"{}", *blobs)
    async with fetching(tmp_path) as artifacts:
        with pytest.raises(SourceError, match=r"is no package|more than the 921600 bytes"):
            await artifacts.fetch(_pinned(reference), SETTINGS)


async def test_an_artifact_that_is_not_there_is_told(registry: OciRegistry, tmp_path: Path) -> None:
    reference = f"{registry.host}/agents/support@sha256:{'0' * 64}"
    async with fetching(tmp_path) as artifacts:
        with pytest.raises(SourceError, match="answers with status 404"):
            await artifacts.fetch(_pinned(reference), SETTINGS)


async def test_a_guarded_registry_hands_out_to_the_pull_secret_only(tmp_path: Path) -> None:
    with oci_registry(guarded=True) as registry:
        reference = await registry.push(MANIFEST)
        folder_of(tmp_path, "right", registry.docker_config())
        folder_of(tmp_path, "wrong", registry.docker_config(password="guessed"))
        folder_of(tmp_path, "other", b'{"auths": {"elsewhere.example.com": {"auth": "eDp5"}}}')
        async with fetching(tmp_path) as artifacts:
            for secret, reason in (
                (None, "name a Secret that may read it"),
                ("wrong", "name a Secret that may read it"),
                ("other", "holds no login for"),
                ("missing", "'missing' .* is not mounted"),
            ):
                with pytest.raises(SourceError, match=reason) as refused:
                    await artifacts.fetch(_pinned(reference, secret), SETTINGS)
                assert "guessed" not in str(refused.value)
            found = await artifacts.fetch(_pinned(reference, "right"), SETTINGS)
    assert found == MANIFEST.written()


async def test_a_public_host_is_never_asked_unencrypted(
    registry: OciRegistry, tmp_path: Path
) -> None:
    reference = await registry.push(MANIFEST)
    async with fetching(tmp_path, private=False) as artifacts:
        with pytest.raises(SourceError, match=r"cannot be reached|no trusted identity"):
            await artifacts.fetch(_pinned(reference), SETTINGS)


async def test_an_address_that_tools_may_not_reach_is_no_registry(
    registry: OciRegistry, tmp_path: Path
) -> None:
    reference = await registry.push(MANIFEST)
    async with fetching(tmp_path, permits=lambda _: False) as artifacts:
        with pytest.raises(SourceError, match="may not be called"):
            await artifacts.fetch(_pinned(reference), SETTINGS)


class TokenRegistry:
    """A registry that sends callers to a realm for a token and to another host for blobs."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str | None]] = []
        self.blobs = Artifact.of(MANIFEST).blobs
        self.port = 0

    async def handle(self, request: web.Request) -> web.Response:
        """Answer as the token flow of the distribution spec describes it."""
        shown = request.headers.get("Authorization")
        self.asked.append((request.path, shown))
        if request.path == "/token":
            told = {"token": "granted"} if shown == "Basic cHVsbGVyOnNlY3JldA==" else {}
            assert request.query["scope"] == "repository:agents/support:pull"
            return web.json_response(told, status=200 if told else 401)
        digest = request.path.rpartition("/")[2]
        if request.path.startswith("/cdn"):
            return web.Response(body=self.blobs[digest])
        if shown != "Bearer granted":
            realm = f'Bearer realm="http://127.0.0.1:{self.port}/token",service="registry"'
            return web.Response(status=401, headers={"WWW-Authenticate": realm})
        if "/blobs/" in request.path:
            raise web.HTTPTemporaryRedirect(f"http://localhost:{self.port}/cdn/{digest}")
        return web.Response(body=self.blobs[digest])


@pytest.fixture
async def tokens() -> AsyncIterator[TokenRegistry]:
    registry = TokenRegistry()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", registry.handle)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    registry.port = runner.addresses[0][1]
    yield registry
    await runner.cleanup()


async def test_a_token_is_fetched_and_shown_to_no_other_host(
    tokens: TokenRegistry, tmp_path: Path
) -> None:
    host = f"127.0.0.1:{tokens.port}"
    login = {"username": "puller", "password": "secret"}
    folder_of(tmp_path, "registry", json.dumps({"auths": {host: login}}).encode())
    reference = f"{host}/agents/support@{Artifact.of(MANIFEST).digest}"
    async with fetching(tmp_path) as artifacts:
        found = await artifacts.fetch(_pinned(reference, "registry"), SETTINGS)
    shown: dict[str, set[Any]] = {}
    for path, authorization in tokens.asked:
        shown.setdefault(path.split("/")[1], set()).add(authorization)
    assert found == MANIFEST.written()
    assert shown == {
        "v2": {None, "Bearer granted"},
        "token": {"Basic cHVsbGVyOnNlY3JldA=="},
        "cdn": {None},
    }


async def test_a_registry_that_hands_out_another_manifest_is_not_believed(
    tokens: TokenRegistry, tmp_path: Path
) -> None:
    digest = Artifact.of(MANIFEST).digest
    other = PackageManifest.of("support", "1.0.0", (agent("support", description="other"),), ())
    tokens.blobs = {digest: Artifact.of(other).blobs[Artifact.of(other).digest]}
    login = {"username": "puller", "password": "secret"}
    host = f"127.0.0.1:{tokens.port}"
    folder_of(tmp_path, "registry", json.dumps({"auths": {host: login}}).encode())
    async with fetching(tmp_path) as artifacts:
        with pytest.raises(SourceError, match=r"damaged or tampered with"):
            await artifacts.fetch(_pinned(f"{host}/agents/support@{digest}", "registry"), SETTINGS)
    assert not (tmp_path / "blobs").exists()


def test_a_volume_keeps_a_bounded_number_of_blobs(tmp_path: Path) -> None:
    blobs = Blobs(tmp_path)
    for number in range(MAX_BLOBS + 10):
        content = str(number).encode()
        blobs.put(digest_of(content), content)
    assert len(list(tmp_path.iterdir())) == MAX_BLOBS
    assert blobs.get(digest_of(str(MAX_BLOBS + 9).encode())) is not None


def test_a_volume_that_cannot_be_written_keeps_nothing_and_harms_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    blobs = Blobs(tmp_path / "file")
    blobs.put(digest_of(b"x"), b"x")
    assert blobs.get(digest_of(b"x")) is None
