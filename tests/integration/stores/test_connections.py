import asyncio
import itertools
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

import pytest
from psycopg.conninfo import conninfo_to_dict

from bulkhead_api import names
from bulkhead_runtime.errors import Problem
from bulkhead_runtime.store.postgres.opening import open_store
from bulkhead_runtime.store.postgres.pool import Pool
from bulkhead_runtime.store.postgres.store import PostgresStore
from tests.support.deadline import until
from tests.support.postgres import PgBouncer, Postgres
from tests.support.shared_homes import SharedHome
from tests.support.store_work import (
    BOUNDS,
    account,
    amounts,
    begin,
    begin_turn,
    finish,
    line,
    new_session,
    now,
    remembered,
    said,
    say,
    started,
    turn_of,
)
from tests.support.tcp_proxy import TcpProxy


async def _role(home: SharedHome) -> str:
    await home.mounted(home.name("acme"))
    return f"bulkhead_{home.name('acme')}"


async def _dsn(home: SharedHome, port: int | None = None) -> str:
    folder = await home.mounted(home.name("acme"))
    dsn = (folder / names.POSTGRES_DSN_FILE).read_text()
    return dsn if port is None else dsn.replace(dsn.rpartition(":")[2].split("/")[0], str(port))


@pytest.fixture
async def wire(postgres: Postgres) -> AsyncIterator[TcpProxy]:
    """A wire to PostgreSQL."""
    async with TcpProxy(postgres.server.port).serving() as wire:
        yield wire


def _connections(postgres: Postgres, role: str) -> int:
    ((count,),) = postgres.administer(
        f"SELECT count(*) FROM pg_stat_activity WHERE usename = '{role}'"
    )
    return int(str(count))


async def test_no_connection_is_held_while_nothing_is_asked(
    postgres: Postgres, home: SharedHome
) -> None:
    role = await _role(home)
    store = await home.open()
    await asyncio.gather(*(store.usage() for _ in range(50)))
    assert 1 <= _connections(postgres, role) <= 4

    async def none() -> bool:
        return _connections(postgres, role) == 0

    await until(none, "every connection is closed")
    await say(store, "again", new=True)
    assert await said(store) == ["again", "re: again"]


async def _hasty(home: SharedHome, organization: str) -> PostgresStore:
    """Return an organization's store that closes its connections soon."""
    folder = await home.mounted(home.name(organization))
    dsn = (folder / names.POSTGRES_DSN_FILE).read_text()
    store = PostgresStore(Pool(lambda: dsn, 3, idle_seconds=0.2), home.name(organization))
    await store.recover()
    return store


async def test_one_connection_stays_while_a_turn_runs_and_goes_after_it(
    postgres: Postgres, home: SharedHome
) -> None:
    store = await _hasty(home, "acme")
    await asyncio.gather(*(store.usage() for _ in range(3)))
    asked, turn = await turn_of(store, begin_turn(new=True))
    silent = await _hasty(home, "globex")

    async def none(organization: str) -> bool:
        return _connections(postgres, f"bulkhead_{home.name(organization)}") == 0

    await until(partial(none, "globex"), "what was used later is closed")
    assert _connections(postgres, f"bulkhead_{home.name('acme')}") == 1
    await store.finish(finish(asked, turn=remembered(turn, "x")), BOUNDS)
    await until(partial(none, "acme"), "nothing is kept for what has ended")
    await store.close()
    await silent.close()


async def test_no_connection_is_kept_for_a_turn_whose_lease_has_passed(
    postgres: Postgres, home: SharedHome
) -> None:
    store = await _hasty(home, "acme")
    await started(store, begin(lease_until=now() + 100))
    role = await _role(home)

    async def none() -> bool:
        return _connections(postgres, role) == 0

    await until(none, "every connection is closed")
    await store.close()


async def test_there_are_never_more_connections_than_allowed(
    postgres: Postgres, home: SharedHome
) -> None:
    role = await _role(home)
    pool = Pool(lambda: dsn, 3)
    dsn = await _dsn(home)
    most = 0

    async def slow() -> None:
        nonlocal most
        await pool.ask("SELECT pg_sleep(0.05)")
        most = max(most, _connections(postgres, role))

    await asyncio.gather(*(slow() for _ in range(12)))
    await pool.close()
    assert most == 3


async def test_a_question_that_gets_no_connection_in_time_is_refused(home: SharedHome) -> None:
    dsn = await _dsn(home)
    pool = Pool(lambda: dsn, 1, wait_seconds=0.1)
    holding = asyncio.create_task(pool.ask("SELECT pg_sleep(1)"))
    with pytest.raises(Problem, match="maxConnections") as refused:
        await asyncio.gather(pool.ask("SELECT 1"), pool.ask("SELECT 1"))
    assert (refused.value.status, refused.value.retry_after) == (503, 1)
    await holding
    assert await pool.ask("SELECT 1") == [(1,)]
    await pool.close()


async def test_who_stops_waiting_leaves_the_place_to_the_next(home: SharedHome) -> None:
    dsn = await _dsn(home)
    pool = Pool(lambda: dsn, 1)
    tasks = [asyncio.create_task(pool.ask("SELECT pg_sleep(0.05)")) for _ in range(6)]
    await asyncio.sleep(0)
    for task in tasks[:5]:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert await pool.ask("SELECT 1") == [(1,)]
    await pool.close()


async def test_a_connection_that_ended_while_idle_is_replaced_unseen(
    postgres: Postgres, home: SharedHome
) -> None:
    role = await _role(home)
    store = await home.open()
    await asyncio.gather(*(store.usage() for _ in range(8)))
    postgres.administer(
        f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '{role}'"
    )

    async def ended() -> bool:
        return _connections(postgres, role) == 0

    await until(ended, "PostgreSQL ended the connections")
    await say(store, "still here", new=True)


async def test_a_rotated_password_is_read_without_a_restart(
    postgres: Postgres, home: SharedHome
) -> None:
    role = await _role(home)
    store = await home.open()
    folder = await home.mounted(home.name("acme"))
    postgres.administer(f"""ALTER ROLE "{role}" PASSWORD 'rotated-password'""")
    postgres.administer(
        f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '{role}'"
    )
    (folder / names.POSTGRES_DSN_FILE).write_text(postgres.dsn(role, "rotated-password"))

    async def answers() -> bool:
        try:
            await store.check()
        except Problem:
            return False
        return True

    await until(answers, "the new password is used")


@pytest.mark.parametrize(
    "dsn",
    [
        "acme:{}@db/bulkhead",
        "postgresql://acme:{}@db/bulkhead?no=such",
        "postgresql://acme:{}/more@db/bulkhead",
        "postgresql://acme:{}@more@db/bulkhead",
        "postgresql://acme:more?{}@db/bulkhead",
        "host=db password={} user",
    ],
)
async def test_a_dsn_that_cannot_be_read_is_told_of_without_being_shown(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, dsn: str
) -> None:
    file = tmp_path / names.POSTGRES_DSN_FILE
    file.parent.mkdir()
    file.write_text(dsn.format("the-password"))
    store = open_store("acme", tmp_path, connections=1, cache=False)
    with pytest.raises(Problem, match=r"spec\.storage\.postgres\.secretRef") as caught:
        await store.recover()
    await store.close()
    assert "the-password" not in caplog.text + caught.value.message


async def test_every_step_of_a_turn_is_one_round_trip(home: SharedHome, wire: TcpProxy) -> None:
    dsn = await _dsn(home, wire.port)
    store = PostgresStore(Pool(lambda: dsn, 1), home.name("acme"))
    await store.recover()
    await say(store, "hello", new=True)
    asked = begin(turn=begin_turn(), accounts=(account(cost="1"),), reserve=amounts(cost="0.1"))
    before = wire.questions
    begun = await started(store, asked)
    after_begin = wire.questions
    await store.reserve(
        asked.reservation_id,
        asked.accounts,
        used=amounts(cost="0.1"),
        reserve=amounts(cost="0.1"),
        lease_until=asked.lease_until,
    )
    after_reserve = wire.questions
    assert begun.turn is not None
    end = finish(asked, turn=remembered(begun.turn, "again"), lines=(line(),))
    await store.finish(end, BOUNDS)
    assert [after_begin - before, after_reserve - after_begin, wire.questions - after_reserve] == [
        1,
        1,
        1,
    ]
    await store.close()


async def test_what_arrives_together_is_written_together(
    postgres: Postgres, home: SharedHome, wire: TcpProxy
) -> None:
    dsn = await _dsn(home, wire.port)
    store = PostgresStore(Pool(lambda: dsn, 1), home.name("acme"))
    await store.recover()
    before = wire.questions
    await asyncio.gather(*(say(store, "x", f"ses_{number}", new=True) for number in range(100)))
    assert wire.questions - before <= 20
    assert (await store.usage()).sessions == 100
    await store.close()


async def test_one_refused_item_of_a_batch_undoes_nothing_of_the_others(home: SharedHome) -> None:
    store = await home.open()
    answers = await asyncio.gather(
        say(store, "one", "ses_1", new=True),
        say(store, "none", "ses_none"),
        say(store, "two", "ses_2", new=True),
        say(store, "twice", "ses_1", new=True),
        return_exceptions=True,
    )
    assert [type(answer).__name__ for answer in answers] == [
        "Finished",
        "Problem",
        "Finished",
        "Problem",
    ]
    assert (await store.usage()).sessions == 2


async def test_an_answer_too_few_is_an_error_for_all_who_wait(
    postgres: Postgres, home: SharedHome
) -> None:
    store = await home.open()
    ((former,),) = postgres.administer("SELECT pg_get_functiondef('bulkhead.write'::regproc)")
    postgres.administer(
        "CREATE OR REPLACE FUNCTION bulkhead.write(items jsonb, stale boolean) RETURNS json "
        """LANGUAGE sql AS $$ SELECT '{"epoch": 0, "answers": []}'::json $$"""
    )
    try:
        with pytest.raises(Problem) as refused:
            async with asyncio.timeout(10):
                await store.create(new_session("ses_1"), BOUNDS)
    finally:
        postgres.administer(str(former))
    assert refused.value.status == 503
    await store.create(new_session("ses_1"), BOUNDS)


async def test_all_of_it_works_through_pgbouncer_in_transaction_mode(
    postgres: Postgres, home: SharedHome
) -> None:
    dsn = await _dsn(home)
    parts = conninfo_to_dict(dsn)
    bouncer = PgBouncer(postgres, {str(parts["user"]): str(parts["password"])}, size=2)
    through = await _dsn(home, bouncer.server.port)
    replicas = [PostgresStore(Pool(lambda: through, 8), home.name("acme")) for _ in range(4)]
    try:
        for replica in replicas:
            await replica.recover()
        await asyncio.gather(
            *(
                say(replica, f"{number}", f"ses_{at}_{number}", new=True)
                for at, replica in enumerate(replicas)
                for number in range(20)
            )
        )
        reads = [replica.usage() for replica in replicas for _ in range(20)]
        assert {usage.sessions for usage in await asyncio.gather(*reads)} == {80}
        assert await said(replicas[0], "ses_3_19") == ["19", "re: 19"]
    finally:
        for replica in replicas:
            await replica.close()
        bouncer.close()


async def test_text_that_postgresql_cannot_hold_is_replaced_where_written_and_refused_where_asked(
    home: SharedHome,
) -> None:
    store = await home.open()
    await say(store, "nul \0, backslash-u \\u0000", new=True)
    assert (await said(store))[0] == "nul \ufffd, backslash-u \\u0000"
    with pytest.raises(Problem) as refused:
        await store.session("ses\0", "me", BOUNDS)
    assert refused.value.status == 422


async def test_a_role_whose_own_encoding_is_another_keeps_every_character(
    postgres: Postgres, home: SharedHome
) -> None:
    role = await _role(home)
    postgres.administer(f"ALTER ROLE \"{role}\" SET client_encoding = 'LATIN1'")
    store = await home.open()
    await say(store, "caf\u00e9 \u2713", new=True)
    assert (await said(store))[0] == "caf\u00e9 \u2713"


async def test_a_question_whose_connection_is_ended_is_refused_as_one_that_may_pass(
    postgres: Postgres, home: SharedHome
) -> None:
    dsn, role = await _dsn(home), await _role(home)
    pool = Pool(lambda: dsn, 1)
    asked = asyncio.create_task(pool.value(b"SELECT pg_sleep($1)", (b"60",)))

    async def ended() -> bool:
        return bool(
            postgres.administer(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                f"WHERE usename = '{role}' AND query LIKE 'SELECT pg_sleep%'"
            )
        )

    await until(ended, "the question's server process is ended")
    with pytest.raises(Problem) as refused:
        await asked
    assert (refused.value.status, refused.value.retry_after) == (503, 1)
    assert await pool.value(b"SELECT $1", (b"goes on",)) == b"goes on"
    await pool.close()


async def test_a_value_is_told_as_the_text_that_it_is(home: SharedHome) -> None:
    dsn = await _dsn(home)
    pool = Pool(lambda: dsn, 1)
    assert await pool.value(b"SELECT $1 || $2", ("\u2713".encode(), b"")) == "\u2713".encode()
    assert await pool.value(b"SELECT nullif($1, $1)", (b"x",)) is None
    for question, code in (
        (b"SELECT bulkhead.made_up($1)", "store_unprepared"),
        (b"SELECT $1::integer", "store_unavailable"),
    ):
        with pytest.raises(Problem) as refused:
            await pool.value(question, (b"x",))
        assert refused.value.code == code
    assert await pool.value(b"SELECT $1", (b"goes on",)) == b"goes on"
    await pool.close()


async def test_the_end_of_a_turn_outlives_a_restart_of_postgresql(
    own_postgres: Postgres, tmp_path: Path
) -> None:
    home = SharedHome(tmp_path, own_postgres)
    store = await home.open()
    asked = begin(turn=begin_turn(new=True), accounts=(account(),), reserve=amounts(tokens="9"))
    begun = await started(store, asked)
    assert begun.turn is not None
    own_postgres.stop()
    with pytest.raises(Problem) as refused:
        await store.usage()
    assert (refused.value.status, refused.value.code) == (503, "store_unavailable")
    end = finish(
        asked, turn=remembered(begun.turn, "kept"), used=amounts(tokens="5"), lines=(line(),)
    )
    ending = asyncio.create_task(store.finish(end, BOUNDS))
    await asyncio.to_thread(own_postgres.start)
    finished = await ending
    assert finished.turn == "stored"
    assert finished.balances[0].used["tokens"] == 5
    assert finished.balances[0].reserved["tokens"] == 0
    assert await said(store) == ["kept", "re: kept"]
    await home.close()


async def test_the_end_of_a_turn_outlives_a_postgresql_that_only_reads(
    own_postgres: Postgres, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    home = SharedHome(tmp_path, own_postgres)
    store = await home.open()
    asked = begin(turn=begin_turn(new=True))
    begun = await started(store, asked)
    assert begun.turn is not None
    own_postgres.administer("ALTER DATABASE bulkhead SET default_transaction_read_only = on")
    own_postgres.administer(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename LIKE 'bulkhead_acme%'"
    )
    with pytest.raises(Problem) as refused:
        await store.create(new_session("ses_2"), BOUNDS)
    assert (refused.value.status, refused.value.retry_after) == (503, 1)
    caplog.clear()
    end = finish(asked, turn=remembered(begun.turn, "kept"), lines=(line(),))
    ending = asyncio.create_task(store.finish(end, BOUNDS))

    async def in_vain() -> bool:
        return any(getattr(told, "state", None) == "25006" for told in caplog.records)

    await until(in_vain, "the end of the turn is refused")
    own_postgres.administer(
        "ALTER DATABASE bulkhead RESET default_transaction_read_only", database="postgres"
    )
    assert (await ending).turn == "stored"
    await home.close()


async def test_every_acknowledged_turn_survives_the_death_of_postgresql(
    own_postgres: Postgres, tmp_path: Path
) -> None:
    home = SharedHome(tmp_path, own_postgres)
    store = await home.open()
    acknowledged: list[str] = []

    async def talk(session_id: str) -> None:
        await say(store, "0", session_id, new=True)
        for turn in itertools.count(1):
            try:
                await say(store, str(turn), session_id)
            except Problem:
                return
            acknowledged.append(session_id)

    talking = [asyncio.create_task(talk(f"ses_{number}")) for number in range(8)]

    async def busy() -> bool:
        return len(acknowledged) > 20

    await until(busy, "turns are acknowledged")
    own_postgres.stop()
    for task in talking:
        task.cancel()
    await asyncio.gather(*talking, return_exceptions=True)
    own_postgres.start()
    for number in range(8):
        session_id = f"ses_{number}"
        session = await store.session(session_id, "me", BOUNDS)
        kept = len(await said(store, session_id)) // 2
        assert kept == session.turns
        # The first turn, those acknowledged, and at most one that was written unheard.
        told = 1 + acknowledged.count(session_id)
        assert told <= session.turns <= told + 1
    await home.close()
