from pathlib import Path

from bulkhead_api.v1alpha1.telemetry import Telemetry
from bulkhead_runtime.telemetry.following import tracing_settings
from bulkhead_runtime.telemetry.spans import TracingSettings

TRACED = Telemetry.model_validate(
    {
        "tracing": {
            "endpoint": "http://collector:4318/",
            "headersRef": {"name": "collector"},
            "samplingRatio": "0.25",
        }
    }
)


def _settings(telemetry: Telemetry, headers: Path) -> TracingSettings | None:
    return tracing_settings(
        telemetry, headers, organization="acme", runtime_id="rt-1", version="1.0.0"
    )


def test_no_collector_means_no_tracing(tmp_path: Path) -> None:
    assert _settings(Telemetry(), tmp_path / "headers") is None


def test_a_collector_gets_its_headers_and_its_share(tmp_path: Path) -> None:
    headers = tmp_path / "headers"
    headers.write_text("Authorization: Basic abc=:\nnot a header\nX-Scope: acme\n")

    settings = _settings(TRACED, headers)

    assert settings is not None
    assert settings.endpoint == "http://collector:4318/v1/traces"
    assert settings.headers == (("authorization", "Basic abc=:"), ("x-scope", "acme"))
    assert settings.sampling_ratio == 0.25


def test_nothing_is_sent_until_the_headers_are_mounted(tmp_path: Path) -> None:
    assert _settings(TRACED, tmp_path / "headers") is None
