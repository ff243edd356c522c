"""A Git repository, and the engine inside Argo CD following it into the local cluster."""

import asyncio
import json
import os
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp

from tests.support.cluster import cluster_tool
from tests.support.deadline import until
from tests.support.ports import free_port

_AUTHOR = {
    "GIT_AUTHOR_NAME": "somebody",
    "GIT_AUTHOR_EMAIL": "somebody@example.com",
    "GIT_COMMITTER_NAME": "somebody",
    "GIT_COMMITTER_EMAIL": "somebody@example.com",
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_CONFIG_SYSTEM": os.devnull,
}


class Repository:
    """A local repository with one manifest per file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.mkdir()
        self._git("init", "--quiet")

    def commit(self, file: str, manifest: dict[str, Any]) -> None:
        """Write a manifest and commit it."""
        (self.path / file).write_text(json.dumps(manifest, indent=2))
        self._git("add", file)
        self._git("commit", "--quiet", f"--message=Change {file}")

    def revert(self) -> None:
        """Take the last commit back by another one."""
        self._git("revert", "--no-edit", "HEAD")

    def _git(self, *arguments: str) -> None:
        command = ["git", "-C", str(self.path), *arguments]
        subprocess.run(command, check=True, capture_output=True, env={**os.environ, **_AUTHOR})


class Agent:
    """gitops-engine's own agent, following a repository into one namespace."""

    def __init__(self, url: str) -> None:
        self._url = url

    async def sync(self) -> None:
        """Let it look at the repository now instead of at its next turn."""
        async with (
            aiohttp.ClientSession() as session,
            session.post(f"{self._url}/api/v1/sync") as response,
        ):
            assert response.status == 200

    async def answers(self) -> bool:
        """Tell whether it has begun to serve."""
        try:
            async with aiohttp.ClientSession() as session, session.get(self._url) as response:
                return response.status == 404
        except aiohttp.ClientError:
            return False


@asynccontextmanager
async def following(
    repository: Repository, kubeconfig: str, namespace: str, log: Path
) -> AsyncIterator[Agent]:
    """Run the agent; it looks every two seconds, applies what differs and prunes what is gone."""
    program = await asyncio.to_thread(cluster_tool, "binaries", "--path", "gitops-agent")
    port = free_port()
    with log.open("w") as output:
        process = await asyncio.create_subprocess_exec(
            *(program.splitlines()[-1], str(repository.path), f"--kubeconfig={kubeconfig}"),
            *("--namespaced", f"--default-namespace={namespace}"),
            *("--resync-seconds=2", f"--port={port}"),
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    agent = Agent(f"http://127.0.0.1:{port}")
    try:
        await until(agent.answers, f"the agent serves; its log: {log}", seconds=30)
        yield agent
    finally:
        process.terminate()
        await asyncio.wait_for(process.wait(), timeout=10)
