import threading

import peewee
import pytest

from batches import changes, claims, commits, snapshots
from batches.commits import CountError
from harness.batches import CHECK, claim_next, findings, lose_turn, start, store
from harness.books import assert_books_balance, emails, query, snapshot
from harness.polling import eventually, in_threads
from models import Snapshot
from postgres import database as database_module
from postgres.database import UNREACHABLE, pool, session
from processors import Findings, failed, later, risky


def take_turn(batch_id, **marked_by_reason):
    """Claim a chunk and complete it; keywords give the ids that failed by reason."""
    with session(), pool.atomic():
        claim = claim_next(batch_id)
        marked = [
            (email_id, "failed", reason)
            for reason, ids in marked_by_reason.items()
            for email_id in ids
        ]
        return commits.commit_outcomes(claim, findings(claim, sorted(marked)))


def test_pending_becomes_processing_exactly_once(database):
    batch_id = store("a@x.de").batch_id
    claimed = in_threads(*[lambda: lose_turn(batch_id)] * 8)
    started = [claim.started for claim in claimed if claim and claim.started]
    assert started == [Snapshot(batch_id, 2, "processing", 0, 0, 1)]
    assert query("SELECT started_at IS NOT NULL, completed_at IS NULL FROM batch") == [(True, True)]


def test_a_chunk_is_claimed_by_one_and_free_again_after_a_rollback(database):
    batch_id = store("a@x.de", "b@x.de", "c@x.de", chunk_size=1).batch_id
    start(batch_id)
    claimed = threading.Barrier(4)

    def claim():
        with pool.atomic() as transaction:
            claim = claim_next(batch_id)
            claimed.wait(60)  # all transactions are open now
            transaction.rollback()
        return claim and claim.addresses

    first_round = in_threads(*[claim] * 4)
    assert sorted(filter(None, first_round)) == [["a@x.de"], ["b@x.de"], ["c@x.de"]]
    assert first_round.count(None) == 1
    claimed.reset()
    query("UPDATE chunk SET attempts = 0 RETURNING 1")
    assert sorted(filter(None, in_threads(*[claim] * 4))) == sorted(filter(None, first_round))


def test_a_claim_tells_whether_more_is_left(database):
    batch_id = store("a@x.de", "b@x.de", chunk_size=1).batch_id
    with session():
        assert lose_turn(batch_id).more
        assert lose_turn(batch_id).more  # the first is unfinished
    query("UPDATE chunk SET attempts = 0 RETURNING 1")
    take_turn(batch_id)
    with session():
        assert not lose_turn(batch_id).more


def test_a_claim_begins_where_it_is_told_to_and_takes_what_there_is(database, monkeypatch):
    monkeypatch.setattr(claims, "CLAIM_SECONDS", 60)
    batch_id = store(*[f"{letter}@x.de" for letter in "abcdefgh"], chunk_size=2).batch_id
    places = ({"share": 0.5}, {"start": 2}, {"start": 5}, {"share": 0.9}, {})
    with session():
        claimed = []
        for place in places:
            with database_module.own_transactions():
                claim = claim_next(batch_id, **place)
            claimed.append(claim and (claim.first_id, claim.more))
    assert claimed == [(5, True), (3, True), (7, True), (1, True), None]


def test_what_is_not_to_be_processed_cannot_be_claimed(database):
    batch_id = store("a@x.de").batch_id
    with session():
        assert claim_next(999) is None
    take_turn(batch_id)
    with session():
        assert claim_next(batch_id) is None
    cancelled = store("a@x.de").batch_id
    with session():
        changes.cancel(cancelled)
        assert claim_next(cancelled) is None


def test_a_chunk_is_nobody_elses_to_begin_a_turn_on_for_a_moment(database, monkeypatch):
    monkeypatch.setattr(claims, "CLAIM_SECONDS", 60)
    batch_id = store("a@x.de", "b@x.de", chunk_size=1).batch_id
    claimed = in_threads(*[lambda: lose_turn(batch_id)] * 5)
    assert sorted(claim.first_id for claim in claimed if claim) == [1, 2]
    # The clock may have been set back since.
    query("UPDATE chunk SET begun_at = now() + interval '1 h' WHERE first_id = 1 RETURNING 1")
    with session():
        again = lose_turn(batch_id)
    assert (again.first_id, again.lost) == (1, 1)


def test_turns_that_were_begun_and_not_committed_are_counted(database, monkeypatch):
    monkeypatch.setattr(claims, "CLAIM_SECONDS", 0)
    batch_id = store("a@x.de", "b@x.de").batch_id
    with session():
        assert [lose_turn(batch_id).lost for _ in range(3)] == [0, 1, 2]
        commits.commit_outcomes(claim_next(batch_id), Findings(1))
        assert query("SELECT attempts, redone, done FROM chunk") == [(0, 3, 1)]
        assert lose_turn(batch_id).lost == 3


def test_a_claim_says_whether_the_batch_is_suspect(database):
    batch_id = store("a@x.de", "b@x.de", chunk_size=1).batch_id
    take_turn(batch_id, worker_crashed=[1])
    for reasons, suspect in ((("worker_crashed", "timed_out"), True), (("timed_out",), False)):
        with session(), database_module.own_transactions():
            pool.execute_sql("UPDATE chunk SET attempts = 0")
            assert claims.claim_chunk(batch_id, CHECK, reasons, 60).suspect is suspect


def test_a_transaction_that_its_owner_forgets_is_ended_and_its_chunk_is_free(database):
    batch_id = store("a@x.de").batch_id

    def forget():
        with session():
            assert claims.claim_chunk(batch_id, CHECK, (), 0.2)
            eventually(lambda: state() is None)
            pool.execute_sql("SELECT 1")

    def state():
        sql = "SELECT state FROM pg_stat_activity WHERE state = 'idle in transaction'"
        return next(iter(in_threads(lambda: pool.execute_sql(sql).fetchone())))

    with pytest.raises(UNREACHABLE):
        forget()
    assert take_turn(batch_id).status == "completed"


def test_outcomes_are_written_and_counted_by_reason(database):
    batch_id = store(*(f"user{n}@x.de" for n in range(1, 6)), chunk_size=3).batch_id
    start(batch_id)
    after = take_turn(batch_id, bad_domain=[1], too_long=[3])
    assert after == Snapshot(batch_id, 3, "processing", 3, 2, 5, {"bad_domain": 1, "too_long": 1})
    assert emails(batch_id) == [
        ("user1@x.de", "failed", "bad_domain"),
        ("user2@x.de", "processed", None),
        ("user3@x.de", "failed", "too_long"),
        ("user4@x.de", "pending", None),
        ("user5@x.de", "pending", None),
    ]
    assert query("SELECT first_id, done, reasons FROM chunk ORDER BY 1") == [
        (1, 3, {"bad_domain": 1, "too_long": 1}),
        (4, 0, {}),
    ]
    assert_books_balance()


def test_a_turn_may_end_within_a_chunk_and_the_next_goes_on_there(database):
    batch_id = store("a@x.de", "b@x.de", "c@x.de", "d@x.de", chunk_size=3).batch_id
    start(batch_id)
    with session(), pool.atomic():
        claim = claim_next(batch_id)
        commits.commit_outcomes(claim, Findings(1, [(0, failed("odd"))]))
    assert_books_balance()
    with session(), pool.atomic():
        claim = claim_next(batch_id)
        assert (list(claim.ids), claim.addresses) == ([2, 3], ["b@x.de", "c@x.de"])
        commits.commit_outcomes(claim, Findings(2, [(0, failed("odd")), (1, risky("role"))]))
    assert query("SELECT done, reasons FROM chunk") == [(0, {}), (3, {"odd": 2, "role": 1})]
    assert emails(batch_id)[2] == ("c@x.de", "processed", "role")
    assert_books_balance()


def chunks(batch_id):
    return query(
        "SELECT first_id, last_id, done, reasons FROM chunk WHERE batch_id = %s ORDER BY first_id",
        batch_id,
    )


def test_what_a_turn_says_it_stored_is_on_the_disk(database, elsewhere):
    behind = []
    for _ in range(10):
        take_turn(store("a@x.de").batch_id)
        elsewhere.execute("SELECT pg_current_wal_insert_lsn() - pg_current_wal_flush_lsn()")
        behind += elsewhere.fetchone()
    # PostgreSQL may have written something of its own just now.
    assert behind.count(0) >= 8


@pytest.mark.parametrize("different", [254, 255, 256, 300])
def test_each_email_gets_its_reason_however_many_there_are(database, different):
    # A byte numbers 256 kinds: 254 reasons, none, and put off.
    number = different + 20
    batch_id = store(*(f"{each}@x.de" for each in range(number)), chunk_size=number).batch_id
    wanted = [f"reason_{at}" if at < different else None for at in range(number)]
    others = [(at, failed(reason)) for at, reason in enumerate(wanted) if reason]
    waits = [(number - 1, later("dns_timeout", 60))]
    with session(), pool.atomic():
        commits.commit_outcomes(claim_next(batch_id), Findings(number, others + waits))
    found = query("SELECT status, reason, later FROM email ORDER BY id")
    plain = [("failed" if reason else "processed", reason, None) for reason in wanted[:-1]]
    assert found == [*plain, ("pending", None, "dns_timeout")]


def test_what_a_turn_leaves_is_shared_if_others_have_nothing_to_do(database):
    batch_id = store(*(f"{n}@x.de" for n in range(100))).batch_id
    start(batch_id)
    with session():
        pool.execute_sql("UPDATE chunk SET redone = 3")
        with pool.atomic():
            commits.commit_outcomes(claim_next(batch_id), Findings(10, [(6, failed("odd"))]))
    assert chunks(batch_id) == [
        (1, 10, 10, {"odd": 1}),
        *((first, first + 9, 0, {}) for first in range(11, 101, 10)),
    ]
    # What keeps dying goes on to do so.
    with session():
        assert lose_turn(batch_id).lost == 3
        pool.execute_sql("UPDATE chunk SET attempts = 0")
    for _ in range(9):
        take_turn(batch_id)
    assert snapshot(batch_id).status == "completed"
    assert_books_balance()


def test_a_rest_is_shared_into_sixteen_parts_at_most(database):
    batch_id = store(*(f"{n}@x.de" for n in range(1000))).batch_id
    start(batch_id)
    with session(), pool.atomic():
        commits.commit_outcomes(claim_next(batch_id), Findings(1))
    assert [last - first + 1 for first, last, _, _ in chunks(batch_id)] == [1, *[63] * 15, 54]


@pytest.mark.parametrize(("most", "parts"), [(17, [2, *[2] * 9, 20]), (18, [20, 20])])
def test_a_rest_is_shared_while_other_chunks_are_free_only_if_it_is_large(
    database, monkeypatch, most, parts
):
    monkeypatch.setattr(commits, "_LARGE_REST", most)
    batch_id = store(*(f"{n}@x.de" for n in range(40)), chunk_size=20).batch_id
    start(batch_id)
    with session(), pool.atomic():
        commits.commit_outcomes(claim_next(batch_id), Findings(2))
    assert [last - first + 1 for first, last, _, _ in chunks(batch_id)] == parts
    while snapshot(batch_id).status != "completed":
        take_turn(batch_id)
    assert_books_balance()


def test_the_rest_of_a_chunk_that_was_requeued_in_part_is_shared(database):
    batch_id = store(*(f"{n}@x.de" for n in range(100))).batch_id
    start(batch_id)
    with session():
        with pool.atomic():
            others = [(n - 1, failed("odd" if n % 2 else "even")) for n in range(1, 101)]
            commits.commit_outcomes(claim_next(batch_id), Findings(100, others))
        changes.retry(batch_id, "reasons", ["odd"], lambda: None)
        with pool.atomic():
            commits.commit_outcomes(claim_next(batch_id), Findings(5))
    assert chunks(batch_id) == [
        (1, 9, 9, {"even": 4}),
        *((first, first + 5, 1, {"even": 3}) for first in range(10, 100, 6)),
        (100, 100, 1, {"even": 1}),
    ]
    assert_books_balance()
    while snapshot(batch_id).status != "completed":
        take_turn(batch_id)
    assert snapshot(batch_id).reasons == {"even": 50}
    assert_books_balance()


def test_the_last_email_completes_the_batch_exactly_once(database):
    batch_id = store(*(f"user{n}@x.de" for n in range(8)), chunk_size=1).batch_id
    start(batch_id)

    def turn():
        with pool.atomic():
            claim = claim_next(batch_id)
            return commits.commit_outcomes(claim, Findings(1))

    after = in_threads(*[turn] * 8)
    assert sorted(each.revision for each in after) == list(range(3, 11))
    assert [each.status for each in after].count("completed") == 1
    assert snapshot(batch_id) == Snapshot(batch_id, 10, "completed", 8, 0, 8)
    assert_books_balance()


def test_a_count_that_does_not_match_the_rows_undoes_the_turn(database):
    batch_id = store("a@x.de", "b@x.de").batch_id
    start(batch_id)

    def turn():
        with session(), pool.atomic():
            claim = claim_next(batch_id)
            commits.commit_outcomes(claim, Findings(3))

    with pytest.raises(CountError, match="3 emails claimed, 2 rows updated"):
        turn()
    assert emails(batch_id) == [("a@x.de", "pending", None), ("b@x.de", "pending", None)]
    assert_books_balance()


def test_a_batch_that_left_processing_counts_no_more_turns(database):
    batch_id = store("a@x.de").batch_id
    start(batch_id)
    with session(), pool.atomic() as transaction:
        claim = claim_next(batch_id)
        changes.cancel(batch_id)
        assert commits.commit_outcomes(claim, Findings(1)) is None
        transaction.rollback()
    assert_books_balance()


@pytest.mark.parametrize(
    "sql",
    [
        "UPDATE batch SET status = 'done'",
        "UPDATE batch SET status = 'completed', completed_at = now(), started_at = now()",
        "UPDATE batch SET status = 'processing'",
        "UPDATE batch SET processed_count = 2, failed_count = 0",
        "UPDATE batch SET failed_count = 1",
        "UPDATE batch SET failed_count = -1",
        "UPDATE batch SET completed_at = now()",
        "UPDATE batch SET total_rows = 2",
        "UPDATE chunk SET done = 2",
        "UPDATE chunk SET last_id = 0",
        "UPDATE email SET status = 'ok'",
        "UPDATE email SET status = 'failed'",
        "UPDATE email SET reason = 'odd'",
    ],
)
def test_the_tables_refuse_what_must_never_be(database, sql):
    store("a@x.de")
    with session(), pytest.raises(peewee.IntegrityError):
        pool.execute_sql(sql)


def test_unfinished_batches_are_those_with_work_left_oldest_first(database):
    ids = [store("a@x.de").batch_id for _ in range(3)]
    start(ids[0])
    take_turn(ids[0])
    start(ids[1])
    with session():
        assert snapshots.unfinished_batches(CHECK) == ids[1:]
        assert snapshots.unfinished_batches(CHECK, limit=1) == ids[1:2]
        assert snapshots.unfinished_batches(CHECK, after=ids[1]) == ids[2:]
        assert snapshots.unfinished_batches(CHECK, without=ids[:2]) == ids[2:]
