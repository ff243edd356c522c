"""What one execution may spend, while the store that reserves it fails."""

from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from bulkhead_runtime.errors import Problem, store_unavailable
from bulkhead_runtime.kernel.allowance import Allowance
from bulkhead_runtime.kernel.bounds import CallNeed, Wanted
from bulkhead_runtime.kernel.purse import Purse
from bulkhead_runtime.store.spending import Account
from bulkhead_runtime.store.sqlite import SqliteStore
from tests.support.runtime.in_process import Trips
from tests.support.store_work import BOUNDS, line

TOTAL = Account("total", "", {"tokens": Decimal(1_000)})


class _HearsNoMore(Trips):
    """The store behind a connection that breaks before the next step is heard."""

    async def reserve(self, *_: Any, **__: Any) -> Any:
        raise store_unavailable("The connection broke.")


async def test_what_the_store_may_not_have_heard_of_is_told_again_at_the_end(
    tmp_path: Path,
) -> None:
    store = _HearsNoMore(SqliteStore(tmp_path))
    purse = Purse(store, (TOTAL,), Allowance({}), principal="me", agent="assistant")
    need = CallNeed(10, 20, None, None)
    await purse.begin(Wanted(need), BOUNDS, turn=None, claim=None)
    purse.spend(line(input_tokens=10, output_tokens=20), turns=1)
    with pytest.raises(Problem):
        await purse.afford(Wanted(need))
    await purse.finish(BOUNDS, seconds=Decimal(0))
    (balance,) = await store.balances((TOTAL,))
    page = await store.ledger(since=0, until=2**62, principal=None, limit=10, cursor=None)
    await store.close()
    assert balance.used["tokens"] >= 30
    assert balance.reserved["tokens"] == 0
    assert len(page.items) == 1
