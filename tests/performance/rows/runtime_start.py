"""From nothing to the first offline answer, and the memory that an idle runtime holds."""

import http.client
import json
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from pathlib import Path
from tempfile import mkdtemp

from bulkhead_api.names import OFFLINE_MODEL
from tests.performance.harness.processes import started
from tests.performance.harness.results import OURS, Bar, ratio
from tests.performance.harness.rounds import Measurement, MeasurementError, Round, interleave
from tests.performance.rows.servers import Server, prepare_reference, prepare_runtime

LITELLM = "litellm"
_AGAINST = "FastAPI with litellm imported at start, to the same answer"
_GIVE_UP_SECONDS = 60.0

BARS = (
    Bar("runtime-start", "spawn to the first offline answer", _AGAINST, 0.25, "lower",
        ratio("start_ms", LITELLM), control="start_ms"),
    Bar("runtime-memory", "memory of an idle runtime (USS)", _AGAINST, 0.4, "lower",
        ratio("uss_mb", LITELLM), control="uss_mb"),
)  # fmt: skip

Started = Callable[[], AbstractContextManager[Server]]


def measure(directory: Path, count: int) -> list[Round]:
    """Start each from nothing in turn; the first start only compiles and fills the page cache."""
    variants = {
        OURS: partial(_first_answer, partial(_runtime, directory)),
        LITELLM: partial(_first_answer, partial(_reference, directory)),
    }
    for run in variants.values():
        run()
    return interleave(variants, count, repeated=OURS)


@contextmanager
def _runtime(directory: Path) -> Iterator[Server]:
    fresh = Path(mkdtemp(dir=directory))
    argv, environment, server_of = prepare_runtime(fresh, None)
    with started("runtime", argv, fresh, environment=environment) as process:
        yield server_of(process)


@contextmanager
def _reference(directory: Path) -> Iterator[Server]:
    argv, environment, server_of = prepare_reference("litellm_gateway", directory, "")
    with started("litellm_gateway", argv, directory, environment=environment) as process:
        yield server_of(process)


def _first_answer(start: Started) -> Measurement:
    begin = time.monotonic()
    with start() as server:
        while not _answered(server):
            if not server.process.running() or time.monotonic() - begin > _GIVE_UP_SECONDS:
                raise MeasurementError(f"no offline answer:\n{server.process.last_words()}")
            time.sleep(0.002)
        elapsed = time.monotonic() - begin
        cpu = server.process.cpu_seconds()
        server.process.wait_until_idle()
        return {
            "cpu_ms": cpu * 1000,
            "start_ms": elapsed * 1000,
            "uss_mb": server.process.uss_mb(),
        }


def _answered(server: Server) -> bool:
    connection = http.client.HTTPConnection(server.url.removeprefix("http://"), timeout=10)
    body = {
        "model": OFFLINE_MODEL,
        "messages": [{"role": "user", "content": "Tell me a story."}],
    }
    headers = {
        "Authorization": f"Bearer {server.key_file.read_text()}",
        "Content-Type": "application/json",
    }
    try:
        connection.request("POST", "/v1/chat/completions", json.dumps(body), headers)
        answer = connection.getresponse()
        said = answer.read()
    except OSError:
        return False
    finally:
        connection.close()
    return answer.status == http.client.OK and bool(_content(said))


def _content(said: bytes) -> str:
    content: str = json.loads(said)["choices"][0]["message"]["content"]
    return content
