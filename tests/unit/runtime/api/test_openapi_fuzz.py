"""Every documented path is asked with good and bad input made from its own description."""

from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, settings
from schemathesis import checks

from bulkhead_runtime.api.rest.app import create_app
from tests.support.runtime_process import KEY, RuntimeFiles, RuntimeProcess, agent, document

EXAMPLES = 25


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RuntimeProcess]:
    files = RuntimeFiles(tmp_path_factory.mktemp("runtime"))
    files.follow((document("1.0.0", agent(), agent("tooled", tools=["calculate"])), 100))
    with RuntimeProcess(files) as process:
        yield process


# The document is the same without a runtime behind it, and so every path is a test of its own.
described = create_app(None, None).openapi()  # type: ignore[arg-type]  # no route is called here
schema = schemathesis.openapi.from_dict(described).exclude(path="/v1/metrics/stream")
"""All but the answer that never ends, which test_metrics.py shows."""


@schema.parametrize()
@settings(
    max_examples=EXAMPLES,
    deadline=None,
    derandomize=True,
    phases=(Phase.explicit, Phase.generate),
    suppress_health_check=list(HealthCheck),
)
def test_no_input_breaks(case: schemathesis.Case[Any], served: RuntimeProcess) -> None:
    case.query.pop("follow", None)  # an answer that does not end, shown elsewhere
    _name_what_exists(case)
    response = case.call(
        base_url=served.url, headers={"Authorization": f"Bearer {KEY}"}, timeout=30
    )
    case.validate_response(
        response,
        checks=[
            checks.not_a_server_error,
            checks.status_code_conformance,
            checks.content_type_conformance,
            checks.response_schema_conformance,
        ],
    )


def _name_what_exists(case: schemathesis.Case[Any]) -> None:
    """Let half of the cases go past the lookup of a name that nobody knows."""
    if len(repr(case.body)) % 2:
        return
    if "agent" in case.path_parameters:
        case.path_parameters["agent"] = "assistant"
    if isinstance(case.body, dict) and isinstance(case.body.get("model"), str):
        case.body["model"] = "offline/echo" if case.body.get("tools") else "assistant"
        if isinstance(case.body.get("messages"), list):
            case.body["messages"] = [{"role": "user", "content": "x"}]


def test_after_all_this_nothing_unforeseen_was_logged(served: RuntimeProcess) -> None:
    assert "Traceback" not in served.log_path.read_text()
