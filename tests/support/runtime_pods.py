"""One pod of an organization, asked from its own inside: a Service would choose another."""

import asyncio
import json
from dataclasses import dataclass
from typing import Any

from tests.support.cluster import Kubectl

SELECTOR = "app.kubernetes.io/name=bulkhead-runtime"
# Standard library only, because nothing else is sure to be in the image; the key comes by stdin,
# where no list of processes shows it.
_CALL = """
import json, sys, urllib.error, urllib.request
call = json.load(sys.stdin)
request = urllib.request.Request(
    "http://127.0.0.1:8080" + call["path"],
    data=json.dumps(call["body"]).encode() if call["body"] is not None else None,
    headers={"Authorization": "Bearer " + call["key"], "Content-Type": "application/json"},
)
try:
    response = urllib.request.urlopen(request, timeout=60)
except urllib.error.HTTPError as error:
    response = error
with response:
    print(json.dumps([response.status, json.load(response)]))
"""


@dataclass(frozen=True)
class RuntimePod:
    """A pod by name."""

    kubectl: Kubectl
    namespace: str
    name: str
    key: str

    def call(self, path: str, body: dict[str, Any] | None = None) -> tuple[int, Any]:
        """Return status and JSON of a GET, or of a POST where there is a body."""
        said = self.kubectl(
            "exec", "--stdin", "-n", self.namespace, self.name, "--", "python3", "-c", _CALL,
            stdin=json.dumps({"path": path, "body": body, "key": self.key}),
        )  # fmt: skip
        status, answer = json.loads(said)
        return status, answer

    def say(self, message: str, session_id: str | None = None) -> dict[str, Any]:
        """Return the answer of the agent `assistant`, which must be one."""
        body = {"message": message} | ({"session_id": session_id} if session_id else {})
        status, answer = self.call("/v1/agents/assistant/execute", body)
        assert status == 200, answer
        found: dict[str, Any] = answer
        return found

    async def says(self, message: str, session_id: str) -> tuple[int, Any]:
        """Say something while other tasks of the test go on."""
        body = {"message": message, "session_id": session_id}
        return await asyncio.to_thread(self.call, "/v1/agents/assistant/execute", body)

    def heard(self, session_id: str) -> list[str]:
        """Return what the user said in a session, in its order."""
        status, page = self.call(f"/v1/sessions/{session_id}/messages?limit=200")
        assert status == 200, page
        return [one["content"] for one in page["data"] if one["role"] == "user"]


def runtime_pods(kubectl: Kubectl, namespace: str, key: str) -> list[RuntimePod]:
    """Return the pods that are ready and stay."""
    pods = kubectl.get("pods", "-n", namespace, "-l", SELECTOR)["items"]
    return [
        RuntimePod(kubectl, namespace, pod["metadata"]["name"], key)
        for pod in pods
        if "deletionTimestamp" not in pod["metadata"] and _ready(pod)
    ]


def _ready(pod: dict[str, Any]) -> bool:
    conditions = pod["status"].get("conditions", ())
    return any(one["type"] == "Ready" and one["status"] == "True" for one in conditions)
