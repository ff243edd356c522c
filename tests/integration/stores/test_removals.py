"""Old events and lines of the ledger are removed by one replica at a time."""

from psycopg import AsyncConnection

from bulkhead_api import names
from bulkhead_runtime.events.port import Event
from tests.support.shared_homes import SharedHome
from tests.support.store_work import BOUNDS, FAR, begin, finish, line, started


async def test_what_one_replica_removes_no_other_waits_for(home: SharedHome) -> None:
    store = await home.open()
    mounted = await home.mounted(home.name("acme"))
    dsn = (mounted / names.POSTGRES_DSN_FILE).read_text()
    asked = begin()
    await started(store, asked)
    old = Event("evt_old", "turn.start", 1)
    await store.finish(finish(asked, lines=(line(at=1),), events=(old,)), BOUNDS)

    async def removed() -> tuple[int, int]:
        return (
            await store.trim_ledger(before=FAR, limit=10),
            await store.remove_events(before=2, keep=10, limit=10),
        )

    async with (
        await AsyncConnection.connect(dsn) as another,
        another.transaction(),
    ):
        await another.execute("SELECT bulkhead.alone_at('ledger'), bulkhead.alone_at('events')")
        assert await removed() == (0, 0)
    assert await removed() == (1, 1)
