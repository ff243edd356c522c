import json
import logging
from pathlib import Path

import pytest

from bulkhead_runtime.telemetry.logs import JsonFormatter, bound, tell
from bulkhead_runtime.telemetry.redaction import SECRET_VALUES, SecretValues


def _line(message: str, **fields: object) -> dict[str, object]:
    record = logging.makeLogRecord({"msg": message, "levelno": 20, "levelname": "INFO", **fields})
    shown = JsonFormatter(organization="acme").format(record)
    assert "\n" not in shown
    found: dict[str, object] = json.loads(shown)
    return found


def test_a_line_carries_the_ids_of_its_work_the_innermost_winning() -> None:
    with bound({"trace_id": "t1", "principal": "ann", "session_id": None}):
        with bound({"run_id": "r1", "principal": "bob"}):
            inner = _line("Turn ended", seconds=0.5)
        outer = _line("Answered")
    after = _line("Idle")

    assert (inner["trace_id"], inner["principal"], inner["run_id"]) == ("t1", "bob", "r1")
    assert (outer["principal"], "run_id" in outer, "session_id" in outer) == ("ann", False, False)
    assert (after["organization"], "trace_id" in after) == ("acme", False)


@pytest.mark.parametrize(
    ("mounted", "secret"),
    [
        pytest.param("sk-canary-key-1", "sk-canary-key-1", id="a key"),
        pytest.param(
            "postgres://org_acme:p%40ssw0rd-canary@db:5432/bulkhead",
            "p@ssw0rd-canary",
            id="the password inside an address",
        ),
        pytest.param("authorization: Bearer canary-token", "Bearer canary-token", id="a header"),
        pytest.param('quoted"canary\\key', 'quoted"canary\\key', id="a value that JSON escapes"),
    ],
)
def test_a_mounted_secret_leaves_no_trace_in_a_line(
    tmp_path: Path, mounted: str, secret: str
) -> None:
    (tmp_path / "group").mkdir()
    (tmp_path / "group" / "name").write_text(mounted + "\n")
    SECRET_VALUES.load(tmp_path)
    shown = json.dumps(_line(f"Provider said {secret}!", reason=f"<{secret}>"))
    SECRET_VALUES.replace(set())

    assert "canary" not in shown
    assert "Provider said [redacted]!" in shown


@pytest.mark.parametrize("others", [0, 500], ids=["the only one", "one of many"])
def test_a_secret_is_taken_out_however_many_there_are(others: int) -> None:
    values = SecretValues()
    values.replace({"sk-canary-key-1", *(f"another-value-{number}" for number in range(others))})

    assert values.redact("It said sk-canary-key-1.") == "It said [redacted]."
    assert values.redact("It said nothing.") == "It said nothing."


def test_what_the_hot_path_tells_is_a_line_like_others_and_a_record_for_any_handler(
    caplog: pytest.LogCaptureFixture,
) -> None:
    tell(logging.getLogger("kernel"), logging.WARNING, "Turn ended", {"outcome": "error"})

    (record,) = caplog.records
    with bound({"run_id": "r1"}):
        line = json.loads(JsonFormatter(organization="acme").format(record))
    assert line.pop("timestamp").endswith("Z")
    assert line == {
        "level": "warning",
        "logger": "kernel",
        "event": "Turn ended",
        "organization": "acme",
        "run_id": "r1",
        "outcome": "error",
    }
    assert "Turn ended" in caplog.text


def test_short_values_and_users_names_stay_readable(tmp_path: Path) -> None:
    (tmp_path / "short").write_text("abc")
    (tmp_path / "dsn").write_text("postgres://org_initech:long-password@db/bulkhead")
    values = SecretValues()
    values.load(tmp_path)

    assert values.redact("abc of org_initech: long-password") == "abc of org_initech: [redacted]"
