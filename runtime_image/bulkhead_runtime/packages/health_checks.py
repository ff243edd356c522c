"""Runs the health checks of versions when the operator asks, once for each time that it asks."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from bulkhead_api.runtime_state import CheckReport, CheckResult
from bulkhead_runtime.config.snapshot import Configuration, Version
from bulkhead_runtime.packages.attempts import Attempts
from bulkhead_runtime.packages.planned_checks import PlannedCheck, checks_of

CHECKS_AT_ONCE: Final = 4
"""Of all versions together: checks are to leave room for those who work."""

MAX_MESSAGE_CHARACTERS: Final = 400
_FIRST_PAUSE_SECONDS: Final = 0.2
_LONGEST_PAUSE_SECONDS: Final = 5.0

VersionKey = tuple[str, str]


@dataclass(slots=True)
class _Run:
    version: Version
    task: "asyncio.Task[tuple[CheckResult, ...]]"

    def is_of(self, version: Version) -> bool:
        """Tell whether this is what `version` asks for."""
        mine = (self.version.check, self.version.checksum)
        return mine == (version.check, version.checksum)

    def report(self) -> CheckReport:
        """Return what is known."""
        pending = CheckReport(
            package=self.version.package,
            version=self.version.version,
            checksum=self.version.checksum,
            nonce=self.version.check,
        )
        if not self.task.done() or self.task.cancelled():
            return pending
        results = self.task.result()
        required = {check.name for check in checks_of(self.version) if check.required}
        failed = [one for one in results if not one.passed and one.name in required]
        return pending.model_copy(
            update={
                "verdict": "Failed" if failed else "Passed",
                "message": f"{failed[0].name}: {failed[0].message}" if failed else "",
                "results": results,
            }
        )


class HealthChecks:
    """The runs that are asked for; belongs to the event loop's thread."""

    def __init__(self, attempts: Attempts) -> None:
        self._attempts = attempts
        self._runs: dict[VersionKey, _Run] = {}
        self._places = asyncio.Semaphore(CHECKS_AT_ONCE)

    def follow(self, configuration: Configuration) -> None:
        """Start what is newly asked for and give up what is asked for no longer."""
        wanted = {key: one for key, one in configuration.versions.items() if one.check}
        kept = self._kept(wanted)
        for key, run in self._runs.items():
            if key not in kept:
                run.task.cancel()
        for key, version in wanted.items():
            if key not in kept:
                kept[key] = _Run(version, asyncio.create_task(self._run(version)))
        self._runs = kept

    def reports(self) -> tuple[CheckReport, ...]:
        """Return what is known of each version that is to be checked."""
        return tuple(run.report() for run in self._runs.values())

    async def wait(self, seconds: float) -> None:
        """Return once no check is running, or time is over."""
        running = [run.task for run in self._runs.values() if not run.task.done()]
        if running and seconds > 0:
            await asyncio.wait(running, timeout=seconds)

    async def aclose(self) -> None:
        """Give up what is running."""
        tasks = [run.task for run in self._runs.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _kept(self, wanted: Mapping[VersionKey, Version]) -> dict[VersionKey, _Run]:
        return {
            key: run for key, run in self._runs.items() if key in wanted and run.is_of(wanted[key])
        }

    async def _run(self, version: Version) -> tuple[CheckResult, ...]:
        checks = (self._checked(version, check) for check in checks_of(version))
        return tuple(await asyncio.gather(*checks))

    async def _checked(self, version: Version, check: PlannedCheck) -> CheckResult:
        """Try until it passes or the attempts are used up; the last failure is told."""
        pause, wrong = _FIRST_PAUSE_SECONDS, ""
        for attempt in range(check.attempts):
            if attempt:
                await asyncio.sleep(pause)
                pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)
            seen = await self._attempted(version, check)
            if seen is None:
                return CheckResult(name=check.name, passed=True)
            wrong = seen
        return CheckResult(name=check.name, passed=False, message=wrong[:MAX_MESSAGE_CHARACTERS])

    async def _attempted(self, version: Version, check: PlannedCheck) -> str | None:
        async with self._places:
            try:
                async with asyncio.timeout(check.timeout_seconds):
                    return await self._attempts.make(version, check.kind)
            except TimeoutError:
                return f"no result within {check.timeout_seconds} seconds"
