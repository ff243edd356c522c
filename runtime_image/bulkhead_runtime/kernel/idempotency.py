"""The same request sent twice is carried out once.

A claim travels to the store of record with the begin of the work and its answer with the end, so
that it holds over replicas and restarts and costs no round trip. Duplicates that meet in one
process wait for each other here, without asking the store.
"""

import asyncio
import hashlib
import re
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Final, TypeVar

from bulkhead_runtime.errors import Problem
from bulkhead_runtime.kernel.execution import Execution
from bulkhead_runtime.kernel.patience import WAIT_SECONDS
from bulkhead_runtime.kernel.purse import ClaimTaken, lease_until
from bulkhead_runtime.kernel.reports import Reports
from bulkhead_runtime.kernel.requests import Repeatable, Repeated
from bulkhead_runtime.store.spending import Claim

KEEP_SECONDS: Final = 24 * 3600
"""How long a finished answer is repeated."""

_KEY: Final = re.compile(r"[\x21-\x7e]{1,255}")

Result = TypeVar("Result")


def claim_of(repeatable: Repeatable, principal: str) -> Claim:
    """Return the claim of a request; raise a 400 `Problem` for a key that cannot be one.

    The digest of the key holds the principal and the route: nobody can ask for another's answer.
    """
    if not _KEY.fullmatch(repeatable.key):
        raise Problem(
            400,
            "invalid_idempotency_key",
            "`Idempotency-Key` must be 1 to 255 visible ASCII characters, for example a UUID.",
            field="Idempotency-Key",
        )
    named = f"{principal}\n{repeatable.route}\n{repeatable.key}"
    return Claim(
        key=hashlib.sha256(named.encode()).hexdigest(),
        principal=principal,
        content=repeatable.content,
        lease_until=lease_until(),
        expires_at=int((time.time() + KEEP_SECONDS) * 1000),
    )


@dataclass(slots=True)
class _Flight:
    """A request that is being carried out in this process."""

    content: str
    landed: asyncio.Event = field(default_factory=asyncio.Event)


class Idempotency:
    """The outermost middleware but telemetry, and the claim at the begin of the work."""

    def __init__(self, reports: Reports) -> None:
        self._reports = reports
        self._flights: dict[str, _Flight] = {}

    async def once(self, execution: Execution, proceed: Callable[[], Awaitable[Result]]) -> Result:
        """Run the rest, unless the same request ran or runs; then raise `Repeated`."""
        claim = execution.claim
        if claim is None:
            return await proceed()
        await self._wait_for_landing(execution, claim)
        flight = self._flights[claim.key] = _Flight(claim.content)
        try:
            return await proceed()
        except Repeated:
            self._reports.idempotency("hit", execution)
            raise
        finally:
            del self._flights[claim.key]
            flight.landed.set()

    async def claimed(self, execution: Execution, begun: Awaitable[Result]) -> Result:
        """Return what `begun` returns; raise `Repeated` or a `Problem` where the key is taken."""
        try:
            result = await begun
        except ClaimTaken as taken:
            if taken.refused.answer is not None:
                raise Repeated(taken.refused.answer) from None
            if taken.refused.reason == "conflict":
                raise self._conflict(execution) from None
            raise _in_flight() from None
        if execution.claim is not None:
            self._reports.idempotency("start", execution)
        return result

    def settled(self, execution: Execution, *, kept: bool) -> None:
        """Report how the work under a key ended."""
        if execution.claim is not None:
            self._reports.idempotency("complete" if kept else "fail", execution)

    async def _wait_for_landing(self, execution: Execution, claim: Claim) -> None:
        give_up = asyncio.get_running_loop().time() + WAIT_SECONDS
        while (flight := self._flights.get(claim.key)) is not None:
            if flight.content != claim.content:
                raise self._conflict(execution)
            try:
                async with asyncio.timeout_at(give_up):
                    await flight.landed.wait()
            except TimeoutError:
                raise _in_flight() from None

    def _conflict(self, execution: Execution) -> Problem:
        self._reports.idempotency("conflict", execution)
        return Problem(
            422,
            "idempotency_conflict",
            "This `Idempotency-Key` was used with another body. Use a new key for a new request.",
            field="Idempotency-Key",
        )


def _in_flight() -> Problem:
    return Problem(
        409,
        "idempotency_in_flight",
        "The request with this `Idempotency-Key` is still being carried out. Ask again later for "
        "its answer.",
        retry_after=5,
    )
