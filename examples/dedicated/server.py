#!/usr/bin/env python3
"""An agent in an image of its own: it looks parcels up, with nothing but Python's library.

Serves the contract of dedicated packages (docs/author/dedicated-packages.md): replace `answer` by
your own code, in any language, and keep the rest.
"""

import json
import re
import signal
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

PORT = 8080
MAX_BODY_BYTES = 16 * 1024 * 1024
AGENTS = {"parcels"}
PARCELS = {"BH-1001": "is on its way", "BH-1002": "waits at the depot", "BH-1003": "has arrived"}


def answer(request: dict) -> Iterator[dict]:
    """Yield the events of one answer; the runtime brings the whole conversation."""
    said = [one["content"] for one in request["messages"] if one["role"] == "user"]
    numbers = re.findall(r"BH-\d{4}", said[-1]) or re.findall(r"BH-\d{4}", " ".join(said))[-1:]
    if not numbers:
        yield from words("Which parcel? Send its number, for example BH-1001.")
    for number in numbers[:20]:
        yield from words(f"Parcel {number} {PARCELS.get(number, 'is not known here')}. ")
    read = sum(len(text.split()) for text in said)
    yield {"type": "usage", "input_tokens": read, "output_tokens": 9, "cost": "0"}
    yield {"type": "done", "finish_reason": "stop"}


def words(text: str) -> Iterator[dict]:
    """Yield a text word by word, so that people see it grow."""
    for word in re.findall(r"\S+\s*", text):
        yield {"type": "text", "text": word}


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    timeout = 60

    def do_GET(self) -> None:
        """Say that requests can be answered."""
        if self.path == "/bulkhead/v1/health":
            self._json(200, {"status": "ok"})
        else:
            self._refuse(404, "there is nothing at this path")

    def do_POST(self) -> None:
        """Answer one execution as a stream of events."""
        if self.path != "/bulkhead/v1/execute":
            self._refuse(404, "there is nothing at this path")
            return
        request = self._request()
        if request is not None:
            self._stream(request)

    def _request(self) -> dict | None:
        size = int(self.headers.get("Content-Length") or 0)
        if size > MAX_BODY_BYTES:
            self.close_connection = True
            self._refuse(413, f"the body has more than {MAX_BODY_BYTES} bytes")
            return None
        try:
            request = json.loads(self.rfile.read(size))
            if request["agent"] not in AGENTS:
                self._refuse(404, "there is no such agent in this image")
                return None
            asked = any(one["role"] == "user" for one in request["messages"])
        except (KeyError, TypeError, ValueError):
            asked = False
        if not asked:
            self._refuse(400, "the body is no request of the contract")
            return None
        return request

    def _stream(self, request: dict) -> None:
        deadline = time.monotonic() + request.get("deadline_seconds", 60)
        self.close_connection = True
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Connection", "close")
        self.end_headers()
        try:
            for event in answer(request):
                if time.monotonic() > deadline:
                    self._event({"type": "error", "message": "no time is left"})
                    return
                self._event(event)
        except OSError:
            return  # the runtime has gone: whoever asked wants no answer any more

    def _event(self, event: dict) -> None:
        self.wfile.write(f"data: {json.dumps(event)}\n\n".encode())
        self.wfile.flush()

    def _refuse(self, status: int, message: str) -> None:
        self._json(status, {"error": {"message": message}})

    def _json(self, status: int, value: dict) -> None:
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Log nothing: requests hold what people wrote."""


class Server(ThreadingHTTPServer):
    """Lets answers end when it is told to stop."""

    daemon_threads = False
    request_queue_size = 128


def main() -> None:
    """Serve until SIGTERM."""
    server = Server(("", int(sys.argv[1]) if len(sys.argv) > 1 else PORT), Handler)
    signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=server.shutdown).start())
    server.serve_forever(poll_interval=0.1)
    server.server_close()


if __name__ == "__main__":
    main()
