"""What one execution may spend: reserved in the store of record before, settled after.

Nothing is asked of the store while what it reserved before suffices, and nothing at all where no
account bounds anything: then the end alone tells it what was used.
"""

import asyncio
import time
from decimal import Decimal
from functools import cached_property
from typing import Final

from msgspec.structs import replace

from bulkhead_runtime.errors import Problem
from bulkhead_runtime.identifiers import new_id
from bulkhead_runtime.kernel import accounts as budget
from bulkhead_runtime.kernel.allowance import Allowance
from bulkhead_runtime.kernel.bounds import Wanted
from bulkhead_runtime.store.port import BeginTurn, PoolBounds, Summary, Turn
from bulkhead_runtime.store.spending import (
    Account,
    Amounts,
    Balance,
    Begin,
    Begun,
    BudgetRefused,
    Claim,
    ClaimRefused,
    Dimension,
    Finish,
    Finished,
    LedgerLine,
    RepeatedAnswer,
    SpendingStore,
    TurnEnd,
)

LEASE_SECONDS: Final = 30
"""How long what a process held outlives it; what still works renews it in time."""

_NOTHING: Final = Decimal(0)


class BudgetRefusedError(Problem):
    """An account has no room; what refused is told beside the words for people."""

    def __init__(self, refused: BudgetRefused, *, held: bool) -> None:
        problem = budget.refusal(refused, held=held)
        super().__init__(
            problem.status, problem.code, problem.message, retry_after=problem.retry_after
        )
        self.refused = refused


class ClaimTaken(Exception):  # noqa: N818 (an outcome, not an error)
    """The idempotency key of this work is taken."""

    def __init__(self, refused: ClaimRefused) -> None:
        super().__init__(refused.reason)
        self.refused = refused


class Purse:
    """One reservation from begin to finish; steps that run at once share it."""

    def __init__(
        self,
        store: SpendingStore,
        accounts: tuple[Account, ...],
        allowance: Allowance,
        *,
        principal: str,
        agent: str,
    ) -> None:
        self.id = new_id("rsv")
        self.balances: tuple[Balance, ...] = ()
        self.lines: list[LedgerLine] = []
        self._told = 0
        self._store = store
        self.accounts = accounts
        self._bounded = tuple([account for account in accounts if account.limits])
        self._allowance = allowance
        self._principal = principal
        self._agent = agent
        self.held = False
        """Whether the store holds something for this work, which is to be renewed."""

        self._reserved: dict[Dimension, Decimal] = {}
        self._used: dict[Dimension, Decimal] = {}
        self._asking = asyncio.Lock()

    @property
    def asks_nothing(self) -> bool:
        """Tell whether no account bounds anything."""
        return not self._bounded

    async def begin(
        self, wanted: Wanted, bounds: PoolBounds, *, turn: BeginTurn | None, claim: Claim | None
    ) -> tuple[Turn | None, Wanted]:
        """Reserve, claim and lock in one step; return the turn and what is granted of `wanted`.

        Raises `ClaimTaken`, and the `Problem`s of budgets and of sessions that cannot run.
        """
        wanted = self.within_allowance(wanted)
        while True:
            request = Begin(
                reservation_id=self.id,
                accounts=self._bounded,
                reserve=self._of_interest(wanted.amounts()),
                lease_until=lease_until(),
                claim=claim,
                turn=turn,
                principal=self._principal,
                agent=self._agent,
            )
            answer = await self._store.begin(request, bounds)
            match answer:
                case Begun(begun, balances):
                    self.held = True
                    self.balances = balances
                    self._reserved = dict(request.reserve)
                    return begun, wanted
                case ClaimRefused():
                    raise ClaimTaken(answer)
                case BudgetRefused():
                    wanted = await self._cut(wanted, answer)

    def within_allowance(self, wanted: Wanted) -> Wanted:
        """Return `wanted`, its output cut to what the request may use still.

        Raises a 402 `Problem` where nothing useful is left.
        """
        while (dimension := self._allowance.lacks(_without_seconds(wanted))) is not None:
            cut = wanted.cut(dimension, self._allowance.left(dimension) or _NOTHING)
            if cut is None:
                raise budget.request_refusal(self._allowance, dimension)
            wanted = cut
        return wanted

    async def afford(self, wanted: Wanted, *, rounds: int = 1) -> Wanted:
        """Return what may be spent of `wanted`, having reserved it.

        `rounds` says how often as much may be needed: where there is room all of it is reserved,
        so that the store is asked once. Raises a `Problem` where the least has no room.
        """
        wanted = self.within_allowance(wanted)
        async with self._asking:
            if self._covers(wanted.amounts()):
                return wanted
            if rounds > 1 and await self._reserve(wanted.amounts(), rounds) is None:
                return wanted
            while (refused := await self._reserve(wanted.amounts(), 1)) is not None:
                wanted = await self._cut(wanted, refused)
            return wanted

    def spend(self, line: LedgerLine, *, turns: int = 0, tool_calls: int = 0) -> None:
        """Count one use, whatever it was that had been reserved for it."""
        used: dict[Dimension, Decimal] = {}
        if tokens := line.input_tokens + line.output_tokens:
            used["tokens"] = Decimal(tokens)
        if line.cost:
            used["cost"] = line.cost
        if turns:
            used["turns"] = Decimal(turns)
        if tool_calls:
            used["tool_calls"] = Decimal(tool_calls)
        self.lines.append(line)
        self._allowance.use(used)
        self._count(used)

    async def renew(self) -> bool:
        """Keep what the store holds for this work; False when it was lost."""
        return await self._store.renew(self.id, lease_until=lease_until())

    async def finish(
        self,
        bounds: PoolBounds,
        *,
        seconds: Decimal,
        turn: TurnEnd | None = None,
        summary: Summary | None = None,
        claim: Claim | None = None,
        answer: RepeatedAnswer | None = None,
    ) -> Finished:
        """Settle and store everything in one step; repeating it changes nothing."""
        request = replace(
            self.closing(seconds), turn=turn, summary=summary, claim=claim, answer=answer
        )
        return await self._store.finish(request, bounds)

    def closing(self, seconds: Decimal) -> Finish:
        """Return what is to be settled of work that took so long."""
        used = {**self._used, "seconds": seconds}
        return Finish(
            reservation_id=self.id,
            accounts=self.accounts,
            used={dimension: amount for dimension, amount in used.items() if amount},
            lines=tuple(self.lines),
        )

    @cached_property
    def _dimensions(self) -> frozenset[Dimension]:
        return frozenset(d for account in self._bounded for d in account.limits)

    def _of_interest(self, amounts: Amounts) -> dict[Dimension, Decimal]:
        return {name: amount for name, amount in amounts.items() if name in self._dimensions}

    def _unused(self) -> dict[Dimension, Decimal]:
        """Return what is reserved and not used yet."""
        return {
            name: max(_NOTHING, amount - self._used.get(name, _NOTHING))
            for name, amount in self._reserved.items()
        }

    def _covers(self, amounts: Amounts) -> bool:
        unused = self._unused()
        return all(
            unused.get(name, _NOTHING) >= amount
            for name, amount in self._of_interest(amounts).items()
        )

    async def _reserve(self, amounts: Amounts, times: int) -> BudgetRefused | None:
        wanted = self._unused()
        wanted.update((name, n * times) for name, n in self._of_interest(amounts).items())
        used, self._used = self._used, {}
        self._reserved = {"seconds": wanted["seconds"]} if "seconds" in wanted else {}
        try:
            answer = await self._store.reserve(
                self.id,
                self.accounts,
                used=used,
                reserve=wanted,
                lease_until=lease_until(),
                lines=tuple(self.lines[self._told :]),
            )
        except BaseException:
            self._count(used)  # whether the store has counted it is not known: rather twice
            raise
        self._told = len(self.lines)
        if isinstance(answer, BudgetRefused):
            return answer
        self.held = True
        self._reserved = wanted
        self.balances = answer.balances
        return None

    async def _cut(self, wanted: Wanted, refused: BudgetRefused) -> Wanted:
        """Return less than `wanted`, never the same again: asking goes on while this shrinks.

        Raises the refusal where less is of no use: one to wait a moment after, where there would be
        room if work under way gave back all that it holds, as some of it may just have.
        """
        cut = wanted.cut(refused.dimension, refused.left)
        if cut is not None and cut != wanted:
            return cut
        (balance,) = await self._store.balances((refused.account,))
        unused = refused.account.limits[refused.dimension] - balance.used.get(
            refused.dimension, _NOTHING
        )
        raise BudgetRefusedError(refused, held=wanted.fits(refused.dimension, unused))

    def _count(self, used: dict[Dimension, Decimal]) -> None:
        for dimension, amount in used.items():
            self._used[dimension] = self._used.get(dimension, _NOTHING) + amount


def lease_until() -> int:
    """Return until when a lease that is taken now holds, in Unix milliseconds."""
    return int((time.time() + LEASE_SECONDS) * 1000)


def _without_seconds(wanted: Wanted) -> Amounts:
    """Return the amounts that a request is bounded by; its seconds are its deadline."""
    amounts = wanted.amounts()
    amounts.pop("seconds", None)
    return amounts
