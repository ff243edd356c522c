"""What the runtimes of an organization say about one version, taken together.

A version is loaded, healthy or gone only when every replica says so. What a runtime says is a
tenant's word: it is read into figures here and never followed further.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation

from bulkhead_api.names import package_key
from bulkhead_api.runtime_state import (
    LATENCY_BOUNDS,
    CheckReport,
    LoadedVersion,
    Measurement,
    RuntimeState,
)
from bulkhead_operator.packages.analysis import Counts, Measured
from bulkhead_operator.packages.rollout import Failure, Verdict, VersionId

FULL_WEIGHT = 100
LONGEST_OBSTACLE = 512


@dataclass(frozen=True, slots=True)
class Reports:
    """The last answer of each replica by its pod's uid; None from one that does not answer."""

    states: Mapping[str, RuntimeState | None]

    @property
    def complete(self) -> bool:
        """Tell whether there are replicas and all of them answered."""
        return bool(self.states) and all(state is not None for state in self.states.values())

    @property
    def following(self) -> tuple[RuntimeState, ...]:
        """Return the answers of those that follow a configuration."""
        answers = self.states.values()
        return tuple(state for state in answers if state is not None and state.configuration_hash)

    def loaded(self, package: str, version: VersionId) -> bool:
        """Tell whether every replica has the version."""
        return self.complete and all(
            any(_is(one, package, version) for one in state.versions)
            for state in self.states.values()
            if state is not None
        )

    def serves_alone(self, package: str, version: VersionId) -> bool:
        """Tell whether every replica gives all new sessions of the package to the version."""
        return self.complete and all(
            any(_is(one, package, version) and one.weight == FULL_WEIGHT for one in state.versions)
            for state in self.states.values()
            if state is not None
        )

    def obstacle(self, package: str, version: VersionId) -> str:
        """Return why a replica could not load the version yet; empty where none says so."""
        name = package_key(package, version.version)
        said = (
            one.message for state in self.following for one in state.refusals if one.what == name
        )
        return next(said, "")[:LONGEST_OBSTACLE]

    def agents(self, package: str, version: VersionId) -> tuple[str, ...]:
        """Return the names of a version's agents as the first replica that has it says."""
        for state in self.following:
            for one in state.versions:
                if _is(one, package, version):
                    return one.agents
        return ()

    def checks(self, package: str, version: VersionId, nonce: str) -> Sequence[CheckReport]:
        """Return what each replica says of one run of the health checks."""
        wanted = (package, version.version, version.checksum, nonce)
        return [
            report
            for state in self.following
            for report in state.checks
            if (report.package, report.version, report.checksum, report.nonce) == wanted
        ]

    def health(
        self, package: str, version: VersionId, nonce: str
    ) -> tuple[Verdict, Failure | None]:
        """Return what one run of the health checks came to, and why it failed."""
        reports = self.checks(package, version, nonce)
        failed = next((one for one in reports if one.verdict == "Failed"), None)
        if failed is not None:
            return Verdict.FAILED, Failure("HealthCheckFailed", _why(failed))
        passed = sum(one.verdict == "Passed" for one in reports)
        if self.complete and passed == len(self.states):
            return Verdict.PASSED, None
        return Verdict.PENDING, None

    def counts(self, package: str, version: VersionId, slow_seconds: int | None) -> Counts:
        """Return what each process counted of a version."""
        return {
            f"{uid}/{state.started_at}"[:128]: _measured(one, slow_seconds)
            for uid, state in self.states.items()
            if state is not None
            for one in state.measurements
            if (one.package, one.version) == (package, version.version)
        }


def _is(loaded: LoadedVersion, package: str, version: VersionId) -> bool:
    return (loaded.package, loaded.version, loaded.checksum) == (
        package,
        version.version,
        version.checksum,
    )


def _why(report: CheckReport) -> str:
    failed = next((one for one in report.results if not one.passed), None)
    if failed is None:
        return report.message or "a health check failed"
    return f"health check '{failed.name}' failed: {failed.message}"


def _measured(one: Measurement, slow_seconds: int | None) -> Measured:
    return Measured(
        executions=max(0, one.executions),
        failures=max(0, one.failures),
        slow=sum(_slow(one.seconds, slow_seconds)),
        cost=_money(one.cost),
        tool_calls=max(0, one.tool_calls),
        tool_denials=max(0, one.tool_denials),
        crashes=max(0, one.crashes),
    )


def _slow(seconds: Sequence[int], limit: int | None) -> Iterator[int]:
    """Yield the executions of each class that lies wholly above the limit."""
    if limit is None:
        return
    lower_bounds = (0, *LATENCY_BOUNDS)
    for lower, count in zip(lower_bounds, seconds, strict=False):
        if lower >= limit:
            yield max(0, count)


def _money(text: str) -> Decimal:
    try:
        amount = Decimal(text)
    except InvalidOperation:
        return Decimal(0)
    return amount if amount.is_finite() and amount >= 0 else Decimal(0)
