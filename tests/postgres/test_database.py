"""Sessions and their deadlines, on a PostgreSQL that answers late, not at all, or gets lost."""

import ast
import gc
import os
import threading
import time
from contextlib import nullcontext
from io import BytesIO
from math import inf

import pytest

from batches import intake
from batches.intake import IntakeError
from harness.batches import store
from harness.books import assert_books_balance, query, snapshot
from harness.config import ROOT, modules
from harness.files import csv_of
from harness.polling import eventually
from harness.proxy import Proxy
from postgres import connections, copy_in, database
from postgres.database import UNREACHABLE, pool, session
from processors import one_by_one
from web import uploads


@pytest.fixture
def proxy(servers, database):
    """The pool goes through it while the test runs."""
    proxy = Proxy(servers.database_url)
    use(proxy.url)
    yield proxy
    use(servers.database_url)
    proxy.close()


def use(url):
    database.disconnect()
    database.init(url, connections=30)


def sleep(seconds):
    pool.execute_sql("SELECT pg_sleep(%s)", (seconds,))


def test_a_session_that_outlasts_its_time_is_cut(database):
    began = time.monotonic()
    with pytest.raises(UNREACHABLE), session(0.3):
        sleep(60)
    assert time.monotonic() - began < 50
    assert query("SELECT 1") == [(1,)]


def test_a_copy_gives_time_to_the_database_and_not_to_whoever_makes_its_pieces(database):
    """A million duplicates in a file may take longer than the database ever should."""
    deadlines = []

    def pieces(current):
        deadlines.append(current.deadline)
        yield b""

    with session() as current, pool.atomic():
        copy_in.copy("email (batch_id, id, email)", pieces(current), current)
        assert current.deadline < time.monotonic() + copy_in.STALL_SECONDS
    assert deadlines == [inf]


@pytest.mark.parametrize("within", [nullcontext, session])
def test_what_the_server_said_last_is_what_is_raised(database, elsewhere, within):
    def be_terminated():
        with within(), session(), pool.atomic():
            (pid,) = pool.execute_sql("SELECT pg_backend_pid()").fetchone()
            elsewhere.execute("SELECT pg_terminate_backend(%s, 5000)", (pid,))
            pool.execute_sql("SELECT 1")

    with pytest.raises(UNREACHABLE, match=r"terminating connection|server closed the connection"):
        be_terminated()


# What a server process does that never looks at its socket by itself.
BUSY = "SELECT count(*) FROM generate_series(1, 100000) AS a, generate_series(1, 100000) AS b"


@pytest.mark.usefixtures("_tables")
@pytest.mark.parametrize("transaction", [pool.atomic, nullcontext, database.own_transactions])
def test_the_statement_of_a_session_that_is_cut_ends(elsewhere, transaction):
    at_work = "SELECT FROM pg_stat_activity WHERE query LIKE %s AND state = 'active'"

    def works():
        elsewhere.execute(f"{at_work} AND pid <> pg_backend_pid()", (f"%{BUSY}%",))
        return elsewhere.rowcount

    def work_until_cut():
        with session(60) as current, transaction():
            if transaction is database.own_transactions:
                pool.execute_sql(database.begin())
            threading.Thread(target=lambda: eventually(works) and current.cut()).start()
            pool.execute_sql(BUSY)

    with pytest.raises(UNREACHABLE):
        work_until_cut()
    eventually(lambda: not works(), 10)


@pytest.mark.usefixtures("_tables")
def test_a_slow_statement_is_told_from_a_server_that_is_away():
    with pytest.raises(UNREACHABLE) as raised, session(), database.limited(0.1):
        sleep(60)
    assert database.is_limit(raised.value)
    with session():
        assert pool.execute_sql("SHOW statement_timeout").fetchone() == ("0",)


def test_a_session_may_be_extended(database):
    with session(0.3) as current:
        current.extend(60)
        sleep(0.8)
    with session(60) as current:
        current.extend(0.1)
        with pytest.raises(UNREACHABLE):
            sleep(60)


@pytest.mark.usefixtures("database")
def test_a_session_within_another_is_the_same_and_lasts_longer():
    with session(60) as outer:
        earlier = outer.deadline
        with session(100) as inner:
            assert inner is outer
            assert outer.deadline > earlier + 35
        with session(5):
            assert outer.deadline > earlier + 35
        with pytest.raises(UNREACHABLE) as caught, session(), database.limited(0.1):
            pool.execute_sql("SELECT pg_sleep(20)")
        assert database.is_limit(caught.value)
    with session() as another:
        assert another is not outer


def test_what_a_cut_session_held_is_free_at_once(database, elsewhere):
    batch_id = store("a@x.de").batch_id

    def hold_it_until_cut():
        with session() as current, pool.atomic():
            query_held = "SELECT FROM batch WHERE id = %s FOR UPDATE"
            pool.execute_sql(query_held, (batch_id,))
            current.cut()
            elsewhere.execute(query_held, (batch_id,))
            pool.execute_sql("SELECT 1")

    with pytest.raises(UNREACHABLE):
        hold_it_until_cut()
    assert elsewhere.rowcount == 1


def test_a_connection_that_failed_leaves_no_descriptor_behind(database):
    def socket_of(descriptor):
        try:
            return os.fstat(descriptor).st_ino
        except OSError:
            return None

    def fail():
        with session() as current:
            descriptors.append(pool.connection().end.fileno())
            sockets.append(socket_of(*descriptors))
            current.cut()
            sleep(60)

    descriptors, sockets = [], []
    # The error and its traceback refer to each other, and to the connection, so only the garbage
    # collector would free it.
    gc.disable()
    try:
        with pytest.raises(UNREACHABLE):
            fail()
        assert socket_of(*descriptors) not in sockets
    finally:
        gc.enable()


def test_a_connection_that_the_server_closed_is_not_used_again(database, elsewhere):
    with session():
        (pid,) = pool.execute_sql("SELECT pg_backend_pid()").fetchone()
    elsewhere.execute("SELECT pg_terminate_backend(%s, 5000)", (pid,))
    for _ in range(3):
        assert query("SELECT 1") == [(1,)]


def test_who_queues_behind_a_failed_attempt_fails_with_it(proxy, monkeypatch):
    monkeypatch.setattr(connections, "REFUSE_SECONDS", 60)
    with monkeypatch.context() as cut_off:
        cut_off.setitem(pool.connect_params, "host", "/nowhere")
        with pytest.raises(UNREACHABLE, match="nowhere"):
            query("SELECT 1")
    with pytest.raises(UNREACHABLE, match="nowhere"):
        query("SELECT 1")


LARGE = [f"{number}@x.de" for number in range(500)]


@pytest.mark.parametrize("addresses", [LARGE, LARGE[:2]], ids=["large", "small"])
def test_an_upload_whose_commit_got_no_answer_is_stored_once(proxy, addresses):
    proxy.lose_answer_to = b"COMMIT"
    batch_id = store(*addresses).batch_id
    assert proxy.lost == 1
    assert query("SELECT id, total_emails FROM batch") == [(batch_id, len(addresses))]
    assert query("SELECT count(*) FROM email") == [(len(addresses),)]


@pytest.mark.parametrize("statement", [b"COPY email", b"INSERT INTO batch", b"COPY chunk"])
def test_an_upload_that_is_lost_before_its_commit_is_not_stored(proxy, statement):
    proxy.lose_answer_to = statement
    with pytest.raises(UNREACHABLE):
        store(*LARGE)
    assert proxy.lost == 1
    assert query("SELECT count(*) FROM batch") == query("SELECT count(*) FROM email") == [(0,)]


@pytest.mark.parametrize("addresses", [LARGE, LARGE[:1]], ids=["large", "small"])
def test_an_upload_that_must_wait_too_long_for_the_database_is_not_stored(
    elsewhere, database, monkeypatch, addresses
):
    monkeypatch.setattr(copy_in, "STALL_SECONDS", 0.5)
    elsewhere.execute("BEGIN; LOCK TABLE chunk IN EXCLUSIVE MODE")
    with pytest.raises(UNREACHABLE):
        store(*addresses)
    elsewhere.execute("COMMIT")
    assert query("SELECT count(*) FROM batch") == query("SELECT count(*) FROM email") == [(0,)]


def test_an_upload_of_which_nobody_knows_says_so(proxy, monkeypatch):
    def gone(transaction):
        raise database.OperationalError("gone")

    proxy.lose_answer_to = b"COMMIT"
    monkeypatch.setattr(database, "was_committed", gone)
    with pytest.raises(IntakeError, match="see whether it is among the recent") as raised:
        intake.store(BytesIO(csv_of("a@x.de")), "list.csv", chunk_size=10, max_rows=10)
    code = raised.value.code
    assert (uploads.status_of(code), code) == (503, "database_lost")


def test_a_turn_whose_commit_got_no_answer_counts_once(proxy, make_turns, queue):
    @one_by_one
    def lose_the_next_commit(address):
        proxy.lose_answer_to = b"COMMIT"
        return "odd" if address.startswith("a") else None

    turns = make_turns(lose_the_next_commit)
    batch_id = store("a@x.de", "b@x.de", chunk_size=1).batch_id
    queue.enqueue(batch_id)
    for _ in range(2):
        with pytest.raises(UNREACHABLE):
            turns.run_once()
    assert proxy.lost == 2
    assert not turns.run_once()
    done = snapshot(batch_id)
    assert (done.status, done.processed, done.failed) == ("completed", 2, 1)
    assert_books_balance()


def test_no_deadline_of_ours_depends_on_the_wall_clock():
    """Setting the clock back must not make anything wait, or end, at the wrong time."""
    wrong = []
    # The first compares clocks; the second keeps dates for a month, also over restarts; the third
    # shows how long ago a batch was uploaded.
    dated = {ROOT / "admin/checks.py", ROOT / "web/access/familiar.py", ROOT / "web/pages.py"}
    for path in {*modules()} - dated:
        for node in ast.walk(ast.parse(path.read_text())):
            match node:
                case ast.Attribute(value=ast.Name(id="time"), attr="time" | "time_ns"):
                    wrong.append(f"{path.name}:{node.lineno}")
                case ast.Attribute(attr="now" | "utcnow" | "today"):
                    wrong.append(f"{path.name}:{node.lineno}")
    assert wrong == []
