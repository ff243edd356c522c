"""What is tried for one call, in order: a model again, then the plan's next one.

Every try goes through its provider's circuit and is told to it, however it ends, and what it took
is kept, so that nothing is spent unseen.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Final, Generic, Protocol, TypeVar

from msgspec import Struct
from msgspec.structs import replace

from bulkhead_runtime.models.circuit import Circuit, Permit
from bulkhead_runtime.models.errors import ModelError, ModelErrorKind
from bulkhead_runtime.models.port import (
    ByteRequest,
    CallBound,
    Meter,
    ModelClient,
    ModelRequest,
    OnSwitch,
    Spent,
    Switch,
    Usage,
    Write,
)
from bulkhead_runtime.models.retries import wait_before_retry

SWITCHING: Final[frozenset[ModelErrorKind]] = frozenset(
    {
        "rate_limited",
        "timeout",
        "unavailable",
        "garbage",
        "unauthorized",
        "missing_credentials",
        "unknown_provider",
    }
)
"""What another model may do better; a request that one refuses is refused."""

_OF_THE_PROVIDER: Final[frozenset[ModelErrorKind]] = frozenset(
    {"rate_limited", "timeout", "unavailable", "garbage"}
)

FAIR_SECONDS: Final = 5.0
"""Silence for so long is the provider's failure, even where the caller's deadline ended it."""

_log = logging.getLogger(__name__)

Request = TypeVar("Request", ModelRequest, ByteRequest)
ByteLane = Callable[[ByteRequest, Write, Meter], Awaitable[None]]


class Target(Struct, frozen=True):
    """A model's provider, ready to be asked; the embedded model has no circuit."""

    client: ModelClient
    byte_lane: ByteLane | None = None
    circuit: Circuit | None = None
    max_retries: int = 0
    max_output: int | None = None


class Targets(Protocol):
    """Knows the providers."""

    def target(self, model: str) -> Target:
        """Return where a model is asked; raise `ModelError` where it cannot be."""
        ...

    def reread_key(self, model: str) -> None:
        """Read the key of a model's provider again; another key means another client."""
        ...

    def bounds(self, request: ModelRequest | ByteRequest) -> CallBound:
        """Return the most that a request can take."""
        ...


@dataclass(slots=True)
class Attempt(Generic[Request]):
    """One try; must be handed back by one of the three reports of `Tries`."""

    target: Target
    request: Request
    permit: Permit | None
    begun_at: float
    meter: Meter = field(default_factory=Meter)


class Tries(Generic[Request]):
    """Walks a plan; `request` is the one of the model that is asked, `spent` what was taken."""

    __slots__ = (
        "_errors",
        "_key_reread",
        "_on_switch",
        "_rest",
        "_retries",
        "_targets",
        "request",
        "spent",
    )

    def __init__(
        self,
        targets: Targets,
        request: Request,
        plan: tuple[str, ...],
        on_switch: OnSwitch | None,
    ) -> None:
        self.request: Request = (
            request if request.model == plan[0] else replace(request, model=plan[0])
        )
        self.spent: list[Spent] = []
        self._targets = targets
        self._rest = list(plan[1:])
        self._on_switch = on_switch
        self._errors: list[ModelError] = []
        self._retries = 0
        self._key_reread = False

    async def begin(self) -> Attempt[Request]:
        """Return the next try; raise `ModelError` when there is nothing left to try."""
        while True:
            try:
                return self._enter()
            except ModelError as error:
                await self._switch(error, None)

    def succeeded(self, attempt: Attempt[Request]) -> None:
        """Note a try that ended well."""
        self._note(attempt)
        if attempt.permit is not None and attempt.target.circuit is not None:
            attempt.target.circuit.succeeded(attempt.permit)

    def abandoned(self, attempt: Attempt[Request]) -> None:
        """Note a try that its caller gave up."""
        self._note(attempt)
        self._give_back(attempt)

    async def failed(self, attempt: Attempt[Request], error: ModelError) -> None:
        """Prepare what comes after a failure; raise where nothing may."""
        self._note(attempt)
        wait = self._wait(attempt, error)
        if wait is not None:
            # Only the last try of a call tells of its provider: a circuit counts calls.
            self._give_back(attempt)
            self._retries += 1
            await asyncio.sleep(wait)
            return
        _tell(attempt.request.model, error)
        self._tell_circuit(attempt, error)
        if attempt.meter.begun:
            raise error
        if not self._key_was_rotated(attempt, error):
            await self._switch(error, attempt.meter.usage)

    def _enter(self) -> Attempt[Request]:
        now = time.monotonic()
        target = self._targets.target(self.request.model)
        permit = None
        if target.circuit is not None:
            permit = target.circuit.admit(now)
            if permit is None:
                raise _circuit_is_open(self.request.model, target.circuit.wait(now))
        return Attempt(target, _fitting(self.request, target), permit, now)

    def _give_back(self, attempt: Attempt[Request]) -> None:
        if attempt.permit is not None and attempt.target.circuit is not None:
            attempt.target.circuit.abandoned(attempt.permit)

    def _note(self, attempt: Attempt[Request]) -> None:
        if attempt.meter.usage is not None:
            self.spent.append(Spent(attempt.request.model, attempt.meter.usage))

    def _tell_circuit(self, attempt: Attempt[Request], error: ModelError) -> None:
        circuit, permit = attempt.target.circuit, attempt.permit
        if circuit is None or permit is None:
            return
        now = time.monotonic()
        if error.kind not in _OF_THE_PROVIDER:
            circuit.succeeded(permit)
        elif now >= self.request.deadline and (
            attempt.meter.begun or now - attempt.begun_at < FAIR_SECONDS
        ):
            circuit.abandoned(permit)
        else:
            circuit.failed(permit, now, error.retry_after)

    def _key_was_rotated(self, attempt: Attempt[Request], error: ModelError) -> bool:
        """Tell whether a refused key was replaced meanwhile, so that the new one is to be tried."""
        if error.kind != "unauthorized" or self._key_reread:
            return False
        self._key_reread = True
        model = self.request.model
        self._targets.reread_key(model)
        return self._targets.target(model).client is not attempt.target.client

    def _wait(self, attempt: Attempt[Request], error: ModelError) -> float | None:
        if attempt.meter.sent or self._retries >= attempt.target.max_retries:
            return None
        return wait_before_retry(
            error,
            attempt=self._retries,
            seconds_left=self.request.deadline - time.monotonic(),
            another=bool(self._rest),
        )

    async def _switch(self, error: ModelError, spent: Usage | None) -> None:
        """Make the plan's next model that can be asked the one to ask; raise where none is left."""
        self._errors.append(error)
        failed = self.request.model
        if error.kind not in SWITCHING or time.monotonic() >= self.request.deadline:
            raise self._ending()
        following = self._following()
        if following is None:
            raise self._ending()
        if self._on_switch is not None:
            bound = self._targets.bounds(following)
            switch = Switch(failed, error, following.model, spent, bound)
            granted = await self._on_switch(switch)
            following = replace(
                following, max_output_tokens=min(granted, following.max_output_tokens)
            )
        self.request = following
        self._retries = 0
        self._key_reread = False

    def _following(self) -> Request | None:
        while self._rest:
            model = self._rest.pop(0)
            try:
                target = self._targets.target(model)
                wait = target.circuit.wait(time.monotonic()) if target.circuit is not None else 0
                if wait > 0:
                    raise _circuit_is_open(model, wait)
            except ModelError as error:
                self._errors.append(error)
                continue
            following: Request = replace(self.request, model=model)
            return _fitting(following, target)
        return None

    def _ending(self) -> ModelError:
        """Return the only failure, or one that names all; its kind is that of the last."""
        last = self._errors[-1]
        if len(self._errors) == 1:
            return last
        waits = [error.retry_after for error in self._errors if error.retry_after is not None]
        told = " ".join(error.message for error in self._errors)
        return ModelError(
            last.kind,
            f"No model of the plan answers. {told}",
            retry_after=min(waits, default=None),
            status=last.status,
        )


def _fitting(request: Request, target: Target) -> Request:
    """Return the request with no more output than the model can make: more is refused."""
    if target.max_output is None or request.max_output_tokens <= target.max_output:
        return request
    fitting: Request = replace(request, max_output_tokens=target.max_output)
    return fitting


def _tell(model: str, error: ModelError) -> None:
    """Log what another model may hide; a request that was refused is its caller's to know."""
    if error.kind in SWITCHING:
        _log.warning(
            "Model call failed",
            extra={
                "provider": model.partition("/")[0],
                "model": model,
                "kind": error.kind,
                "status": error.status,
            },
        )


def _circuit_is_open(model: str, wait: float) -> ModelError:
    return ModelError(
        "unavailable",
        f"Provider {model.partition('/')[0]!r} failed several times in a row and is not asked for "
        f"{wait:.0f} seconds (spec.models.providers[].circuitBreaker): try again then.",
        retry_after=wait,
    )
