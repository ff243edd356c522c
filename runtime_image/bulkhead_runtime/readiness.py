"""Whether this process can serve, dependency by dependency, for probes and people."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Dependency:
    """One thing that serving needs; `required` False means that its lack degrades only."""

    name: str
    ok: bool
    message: str
    required: bool = True


@dataclass(frozen=True, slots=True)
class Readiness:
    """All dependencies at one moment."""

    draining: bool
    dependencies: tuple[Dependency, ...]

    @property
    def ready(self) -> bool:
        """Tell whether traffic should come here."""
        return not self.draining and all(
            dependency.ok for dependency in self.dependencies if dependency.required
        )
