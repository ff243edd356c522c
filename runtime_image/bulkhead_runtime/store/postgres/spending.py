"""Work that spends, in PostgreSQL: begin, reserve, finish, each in one round trip."""

import asyncio
import time
from typing import Any

from bulkhead_runtime import errors
from bulkhead_runtime.store.port import PoolBounds
from bulkhead_runtime.store.postgres import decoding, encoding
from bulkhead_runtime.store.postgres.lane import Lane
from bulkhead_runtime.store.postgres.pool import Pool
from bulkhead_runtime.store.spending import (
    Account,
    Amounts,
    Balance,
    Begin,
    Begun,
    BudgetRefused,
    ClaimRefused,
    Finish,
    Finished,
    LedgerLine,
)

FINISH_SECONDS = 10.0
"""How long the end of work that cost something is tried again while PostgreSQL is away."""

RELEASED_AT_ONCE = 200

_FIRST_PAUSE = 0.05

_BALANCES = (
    "SELECT scope, key, used::text, reserved::text "
    "FROM jsonb_array_elements(%s::jsonb -> 'accounts') AS given CROSS JOIN LATERAL ("
    "SELECT * FROM bulkhead.accounts WHERE scope = given ->> 'scope' AND key = given ->> 'key' "
    "LIMIT 1) AS held"
)
_RELEASE = "SELECT bulkhead.release_abandoned(%s)"


class Spending:
    """The port `SpendingStore`."""

    def __init__(self, pool: Pool, lane: Lane) -> None:
        self._pool = pool
        self._lane = lane

    async def begin(
        self, request: Begin, bounds: PoolBounds
    ) -> Begun | ClaimRefused | BudgetRefused:
        """Start work, or say why not; raises the same `Problem`s as a session that cannot run."""
        answer = await self._begin(request, encoding.begin(request, bounds), bounds)
        return decoding.begun(answer, request)

    async def reserve(
        self,
        reservation_id: str,
        accounts: tuple[Account, ...],
        *,
        used: Amounts,
        reserve: Amounts,
        lease_until: int,
        lines: tuple[LedgerLine, ...] = (),
    ) -> Begun | BudgetRefused:
        """Settle the last call with `used` and reserve the next, renewing lock and lease."""
        item = {
            "do": "reserve",
            "id": reservation_id,
            "accounts": encoding.accounts(accounts),
            "used": encoding.amounts(used),
            "reserve": encoding.amounts(reserve),
            "lease_ms": encoding.from_now(lease_until),
            "lines": [encoding.line(line) for line in lines],
        }
        answer = decoding.checked(await self._lane.do(encoding.encode(item)))
        self._pool.expect(reservation_id, lease_until)
        refused = decoding.budget_refused(answer, accounts)
        return refused or Begun(None, decoding.balances(answer["balances"], accounts))

    async def renew(self, reservation_id: str, *, lease_until: int) -> bool:
        """Renew lock and lease of work that goes on; False when either was lost."""
        item = {
            "do": "renew",
            "id": reservation_id,
            "lease_ms": encoding.from_now(lease_until),
        }
        renewed = bool(decoding.checked(await self._lane.do(encoding.encode(item))))
        if renewed:
            self._pool.expect(reservation_id, lease_until)
        return renewed

    async def finish(self, request: Finish, bounds: PoolBounds) -> Finished:
        """Store how work ended; durable when this returns. Repeating it changes nothing.

        So it is repeated for a while where PostgreSQL cannot be had: it may be restarting, and
        what the work cost is spent.
        """
        answer = await self._finish(request, encoding.finish(request, bounds), bounds)
        return decoding.finished(answer, request)

    async def balances(self, accounts: tuple[Account, ...]) -> tuple[Balance, ...]:
        """Return where accounts stand."""
        named = encoding.encode({"accounts": encoding.accounts(accounts)})
        found = await self._pool.ask(_BALANCES, (named.decode(),))
        return decoding.balances(
            [
                {"scope": scope, "key": key, "used": used, "reserved": reserved}
                for scope, key, used, reserved in found
            ],
            accounts,
        )

    async def release_abandoned(self) -> int:
        """Settle reservations and free claims whose lease has passed; return how many."""
        ((released,),) = await self._pool.ask(_RELEASE, (RELEASED_AT_ONCE,))
        return int(released)

    async def _begin(self, request: Begin, item: bytes, bounds: PoolBounds) -> Any:
        answer = decoding.checked(await self._lane.do(item), bounds)
        if "balances" in answer:
            self._pool.expect(request.reservation_id, request.lease_until)
        return answer

    async def _finish(self, request: Finish, item: bytes, bounds: PoolBounds) -> Any:
        end = time.monotonic() + FINISH_SECONDS
        pause = _FIRST_PAUSE
        try:
            while True:
                try:
                    return decoding.checked(await self._lane.do(item), bounds)
                except errors.Problem as problem:
                    if problem.retry_after is None or time.monotonic() + pause > end:
                        raise
                await asyncio.sleep(pause)
                pause *= 2
        finally:
            self._pool.forget(request.reservation_id)
