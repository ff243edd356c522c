"""The embedded store's way through work that spends: begin, reserve, finish."""

from collections import OrderedDict
from functools import partial

from bulkhead_runtime.errors import Problem
from bulkhead_runtime.store.port import PoolBounds
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
    TurnOutcome,
)
from bulkhead_runtime.store.sqlite import accounts as account_rows
from bulkhead_runtime.store.sqlite import work
from bulkhead_runtime.store.sqlite.access import FileAccess, now

_REMEMBERED = 256
"""Ends of turns that can be asked for again: only this process can, and at once."""


class SqliteSpending:
    """The port of store/spending.py over one file."""

    def __init__(self, file: FileAccess, holder: work.Holder) -> None:
        self._file = file
        self._holder = holder
        self._finished: OrderedDict[str, TurnOutcome] = OrderedDict()

    async def begin(
        self, request: Begin, bounds: PoolBounds
    ) -> Begun | ClaimRefused | BudgetRefused:
        """Start work, or say why not.

        On disk when this returns only where that matters: a reservation against a limit and an
        idempotency key must outlive the machine's power, a lock that is lost with it locks nothing.
        """
        durable = request.claim is not None or any(one.limits for one in request.accounts)
        try:
            return await self._file.writer.run(
                partial(work.begin, request=request, bounds=bounds, holder=self._holder, now=now()),
                durable=durable,
            )
        except work.RefusedError as refused:
            return refused.answer

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
        """Settle the last call with `used` and reserve the next; durable when this returns."""
        request = work.Next(reservation_id, accounts, used, reserve, lease_until, lines)
        answer = await self._file.writer.run(
            partial(work.proceed, request=request, holder=self._holder, now=now())
        )
        if isinstance(answer, Problem):
            raise answer
        return answer

    async def renew(self, reservation_id: str, *, lease_until: int) -> bool:
        """Renew lock and lease of work that goes on; False when either was lost."""
        return await self._file.writer.run(
            partial(
                work.renew,
                reservation_id=reservation_id,
                owner=self._holder.id,
                lease_until=lease_until,
            ),
            durable=False,
        )

    async def finish(self, request: Finish, bounds: PoolBounds) -> Finished:
        """Store how work ended; durable when this returns. Repeating it changes nothing."""
        former = self._finished.get(request.reservation_id)
        if former is not None:
            return Finished(former, await self.balances(request.accounts))
        finished = await self._file.writer.run(
            partial(work.finish, request=request, bounds=bounds, holder=self._holder, now=now())
        )
        if finished.turn is not None:
            self._finished[request.reservation_id] = finished.turn
            if len(self._finished) > _REMEMBERED:
                self._finished.popitem(last=False)
        return finished

    async def balances(self, accounts: tuple[Account, ...]) -> tuple[Balance, ...]:
        """Return where accounts stand."""
        return self._file.read(partial(account_rows.balances, accounts=accounts))

    async def release_abandoned(self) -> int:
        """Settle reservations and free claims whose holder is gone; return how many."""
        return await self._file.writer.run(
            partial(work.release_abandoned, alive=self._holder.alive, now=now())
        )
