"""Follows what configuration and Secrets say about traces, error reports and secret values."""

from pathlib import Path

from bulkhead_api import names
from bulkhead_api.v1alpha1.telemetry import Telemetry
from bulkhead_runtime.kernel.background import Background
from bulkhead_runtime.settings import Settings
from bulkhead_runtime.telemetry.following import mounted, tracing_settings
from bulkhead_runtime.telemetry.redaction import SECRET_VALUES
from bulkhead_runtime.telemetry.sentry import ErrorReports
from bulkhead_runtime.telemetry.spans import Tracing


class Observability:
    """What leaves the process about its work, besides logs and metrics."""

    def __init__(self, settings: Settings, version: str, background: Background) -> None:
        self.tracing = Tracing()
        self._errors = ErrorReports(organization=settings.organization, release=version)
        self._settings = settings
        self._version = version
        self._background = background
        self._telemetry = Telemetry()

    def follow(self, telemetry: Telemetry) -> None:
        """Follow a new configuration, beside what runs."""
        self._telemetry = telemetry
        self._background.spawn(self._apply())

    def reload(self) -> None:
        """Read the mounted secrets again."""
        SECRET_VALUES.load(self._settings.secrets_directory)
        self._background.spawn(self._apply())

    async def aclose(self) -> None:
        """Send what waits, within a bounded time."""
        await self.tracing.aclose()
        await self._errors.aclose()

    async def _apply(self) -> None:
        secrets: Path = self._settings.secrets_directory
        settings = tracing_settings(
            self._telemetry,
            secrets / names.TRACING_HEADERS_FILE,
            organization=self._settings.organization,
            runtime_id=self._settings.runtime_id,
            version=self._version,
        )
        await self.tracing.configure(settings)
        wanted = self._telemetry.sentry is not None
        await self._errors.configure(mounted(secrets / names.SENTRY_DSN_FILE) if wanted else None)
