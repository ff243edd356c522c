"""What metrics were is kept by interval and process, and forgotten in time."""

from bulkhead_runtime.store.figures import FigureRow
from bulkhead_runtime.store.of_record import StoreOfRecord
from tests.support.store_homes import StoreHome


async def test_rows_are_found_by_step_and_time_oldest_first(store: StoreOfRecord) -> None:
    late, early = FigureRow(10, 120, "p", b"late"), FigureRow(10, 100, "p", b"\x00\xff")
    coarse = FigureRow(60, 60, "p", b"coarse")
    await store.keep_figures((late, early, coarse), oldest={})

    assert await store.figures(10, since=0, until=1_000) == (early, late)
    assert await store.figures(10, since=101, until=120) == ()
    assert await store.figures(10, since=100, until=120) == (early,)
    assert await store.figures(60, since=0, until=1_000) == (coarse,)


async def test_a_row_that_is_written_again_is_replaced(store: StoreOfRecord) -> None:
    await store.keep_figures((FigureRow(60, 60, "p", b"first"),), oldest={})
    await store.keep_figures((FigureRow(60, 60, "p", b"second"),), oldest={})

    assert await store.figures(60, since=0, until=100) == (FigureRow(60, 60, "p", b"second"),)


async def test_processes_do_not_overwrite_each_other(store: StoreOfRecord) -> None:
    one, other = FigureRow(10, 50, "one", b"1"), FigureRow(10, 50, "other", b"2")
    await store.keep_figures((other,), oldest={})
    await store.keep_figures((one,), oldest={})

    assert await store.figures(10, since=0, until=100) == (one, other)


async def test_what_is_older_than_its_steps_retention_goes(store: StoreOfRecord) -> None:
    rows = tuple(FigureRow(step, at, "p", b"") for step in (10, 60) for at in (0, 600, 1_200))
    await store.keep_figures(rows, oldest={})
    newest = FigureRow(10, 1_800, "p", b"")
    await store.keep_figures((newest,), oldest={10: 1_200, 60: 600})

    kept = await store.figures(10, since=0, until=9_999)
    assert [row.at for row in kept] == [1_200, 1_800]
    assert [row.at for row in await store.figures(60, since=0, until=9_999)] == [600, 1_200]


async def test_figures_outlive_their_process(home: StoreHome) -> None:
    first = await home.open()
    row = FigureRow(10, 50, "first", b"kept")
    await first.keep_figures((row,), oldest={})
    await first.close()

    again = await home.open()
    assert await again.figures(10, since=0, until=100) == (row,)
