"""How fast a changed operator may restart what runs.

When an upgraded operator builds other pods than the one before, every organization would restart at
once. So a restart that no person asked for needs a place: few organizations are at work at a
time, and after a few that failed no further one begins until those recover or the operator
changes again. All of it is read from live Deployments, so a restarted operator goes on where the
former stopped. Nothing here speaks to the cluster.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum, auto


class Phase(Enum):
    """Where an organization stands with a restart that the operator caused."""

    SETTLED = auto()
    UNDER_WAY = auto()
    FAILED = auto()


class Decision(Enum):
    """Whether an organization may restart now."""

    PROCEED = auto()
    WAIT = auto()
    HALTED = auto()


@dataclass(frozen=True, slots=True)
class LiveTemplate:
    """What a live Deployment says about its pod template."""

    template_hash: str
    generation: str
    """The organization's generation that the template was built from."""
    upgrade: str
    """The template hash that an operator's upgrade rolled out last, empty for none."""
    rolled_out: bool
    failed: bool
    replicas: int


@dataclass(frozen=True, slots=True)
class WantedTemplate:
    """What the Deployment should be."""

    template_hash: str
    generation: str
    replicas: int


def needs_a_place(live: LiveTemplate | None, wanted: WantedTemplate) -> bool:
    """Tell whether applying would restart pods for no other reason than a changed operator.

    A Deployment that is missing, stopped, or scaled by hand serves nobody that a restart could
    disturb; one whose owner's spec changed restarts because a person wants it.
    """
    if live is None or not live.template_hash:
        return False
    if live.template_hash == wanted.template_hash or live.generation != wanted.generation:
        return False
    return wanted.replicas > 0 and live.replicas == wanted.replicas


def phase_of(live: LiveTemplate | None, wanted_hash: str | None = None) -> Phase:
    """Return where a Deployment stands; with `wanted_hash` only an upgrade to that one counts."""
    if live is None or not live.upgrade or live.upgrade != live.template_hash:
        return Phase.SETTLED
    if live.rolled_out or (wanted_hash is not None and live.upgrade != wanted_hash):
        return Phase.SETTLED
    return Phase.FAILED if live.failed else Phase.UNDER_WAY


class Pace:
    """Hands out the places; `ring` wakes an organization that waited and may try again."""

    def __init__(
        self, at_once: int, failures_before_halt: int, ring: Callable[[str], None]
    ) -> None:
        self._at_once = at_once
        self._halt_after = failures_before_halt
        self._ring = ring
        self._phases: dict[str, Phase] = {}
        self._waiting: dict[str, None] = {}
        self._seeded = False

    @property
    def seeded(self) -> bool:
        """Tell whether the live Deployments of all organizations were looked at once."""
        return self._seeded

    @property
    def waiting(self) -> int:
        """Return how many organizations wait for a place."""
        return len(self._waiting)

    @property
    def under_way(self) -> int:
        """Return how many organizations restart right now."""
        return self._count(Phase.UNDER_WAY)

    @property
    def failed(self) -> int:
        """Return how many organizations failed to restart."""
        return self._count(Phase.FAILED)

    def seed(self, phases: Mapping[str, Phase]) -> None:
        """Take in where all organizations stand, before the first place is handed out."""
        for organization, phase in phases.items():
            self._set(organization, phase)
        self._seeded = True

    def observe(self, organization: str, phase: Phase) -> None:
        """Take in where an organization stands now."""
        before = self._phases.get(organization, Phase.SETTLED)
        self._set(organization, phase)
        if phase is not before and phase is not Phase.UNDER_WAY:
            self._wake()

    def admit(self, organization: str) -> Decision:
        """Give the organization a place, or tell why not."""
        if self._phases.get(organization) is Phase.UNDER_WAY:
            return Decision.PROCEED
        if self._count(Phase.FAILED) >= self._halt_after:
            self._waiting[organization] = None
            return Decision.HALTED
        if self._count(Phase.UNDER_WAY) >= self._at_once:
            self._waiting[organization] = None
            return Decision.WAIT
        self._waiting.pop(organization, None)
        self._phases[organization] = Phase.UNDER_WAY
        return Decision.PROCEED

    def withdraw(self, organization: str) -> None:
        """Take an organization off the list of those that wait."""
        self._waiting.pop(organization, None)

    def leave(self, organization: str) -> None:
        """Forget an organization that is gone."""
        self._waiting.pop(organization, None)
        if self._phases.pop(organization, None) is not None:
            self._wake()

    def _set(self, organization: str, phase: Phase) -> None:
        if phase is Phase.SETTLED:
            self._phases.pop(organization, None)
        else:
            self._phases[organization] = phase

    def _count(self, phase: Phase) -> int:
        return sum(1 for one in self._phases.values() if one is phase)

    def _wake(self) -> None:
        if self._count(Phase.FAILED) >= self._halt_after:
            return
        free = self._at_once - self._count(Phase.UNDER_WAY)
        for organization in list(self._waiting)[: max(free, 0)]:
            self._ring(organization)
