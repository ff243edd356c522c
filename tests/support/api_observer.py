"""Looks at an API server, and acts on it, as somebody who is not the operator."""

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import aiohttp
import yaml

from bulkhead_operator.cluster.credentials import from_kubeconfig
from tests.support.deadline import until

Object = dict[str, Any]

ROOT = Path(__file__).resolve().parents[2]
OURS = "/apis/bulkhead.dev/v1alpha1"


class Observer:
    """A person with kubectl and every right, without the process for each call."""

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self._session = session

    async def call(
        self, method: str, path: str, body: object = None, content_type: str = "application/json"
    ) -> tuple[int, Object]:
        """Return status and answer of one call."""
        data = None if body is None else json.dumps(body)
        headers = {"Content-Type": content_type}
        async with self._session.request(method, path, data=data, headers=headers) as response:
            text = await response.text()
            try:
                return response.status, json.loads(text)
            except ValueError:
                return response.status, {"message": text}

    async def expect(
        self, method: str, path: str, body: object = None, content_type: str = "application/json"
    ) -> Object:
        """Return the answer of a call that must succeed."""
        status, answer = await self.call(method, path, body, content_type)
        assert status < 300, f"{method} {path}: {status} {answer.get('message')}"
        return answer

    async def get(self, path: str) -> Object | None:
        """Return an object, or None."""
        status, answer = await self.call("GET", path)
        assert status in {200, 404}, answer
        return answer if status == 200 else None

    async def items(self, path: str) -> list[Object]:
        """Return the items of a list."""
        found: list[Object] = (await self.expect("GET", path))["items"]
        return found

    async def merge(self, path: str, body: object) -> Object:
        """Merge-patch an object."""
        return await self.expect("PATCH", path, body, "application/merge-patch+json")

    async def create(self, manifest: Mapping[str, Any]) -> Object:
        """Create one of our kinds."""
        return await self.expect("POST", collection(manifest), manifest)

    async def namespace(self, name: str, annotations: Mapping[str, str] | None = None) -> Object:
        """Create a namespace."""
        metadata = {"name": name, "annotations": dict(annotations or {})}
        manifest = {"apiVersion": "v1", "kind": "Namespace", "metadata": metadata}
        return await self.expect("POST", "/api/v1/namespaces", manifest)

    async def install(self) -> None:
        """Install the three CustomResourceDefinitions and wait until they are served."""
        for file in sorted((ROOT / "crds").glob("*.yaml")):
            manifest = yaml.safe_load(file.read_text())
            path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
            await self.expect("POST", path, manifest)
            await until(partial(self._served, manifest), f"{file.name} is served")

    async def _served(self, definition: Object) -> bool:
        status, _ = await self.call("GET", f"{OURS}/{definition['spec']['names']['plural']}")
        return status == 200


def collection(manifest: Mapping[str, Any]) -> str:
    """Return the path of the collection that one of our objects belongs to."""
    plural = f"{manifest['kind'].lower()}s"
    namespace = manifest["metadata"].get("namespace")
    return f"{OURS}/namespaces/{namespace}/{plural}" if namespace else f"{OURS}/{plural}"


def path_of(manifest: Mapping[str, Any]) -> str:
    """Return the path of one of our objects."""
    return f"{collection(manifest)}/{manifest['metadata']['name']}"


@asynccontextmanager
async def observing(kubeconfig: Path) -> AsyncIterator[Observer]:
    """Yield an observer with the rights of a kubeconfig's current user."""
    credentials = from_kubeconfig(kubeconfig)
    connector = aiohttp.TCPConnector(ssl=credentials.tls())
    async with aiohttp.ClientSession(base_url=credentials.server, connector=connector) as session:
        yield Observer(session)
