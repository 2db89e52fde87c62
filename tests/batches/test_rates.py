"""Rates of batches and processors: what turns get of them, and that no two get the same."""

from dataclasses import replace

import pytest

from batches import allowances, changes, commits, snapshots
from batches.allowances import Wait
from batches.changes import StateError
from batches.intake import Upload
from harness.batches import CHECK, claim_next, completed, findings, lose_turn, store, take_turns
from harness.books import assert_books_balance, query, snapshot
from harness.polling import in_threads
from postgres import database as database_module
from postgres.database import pool, session
from processors import Findings

ADDRESSES = [f"user{number}@x.de" for number in range(500)]


def rated(per_minute, count=500, chunk_size=5000):
    upload = Upload(per_minute=per_minute)
    return store(*ADDRESSES[:count], chunk_size=chunk_size, upload=upload).batch_id


def rated_check(per_minute):
    return replace(CHECK, per_minute=per_minute)


def turn(batch_id, processor=CHECK):
    """Take a turn on what the rates allow, and return the number of emails, or the Wait."""
    with session(), database_module.own_transactions():
        claimed = claim_next(batch_id, processor)
        if not isinstance(claimed, allowances.Wait | None):
            assert len(claimed.addresses) == len(claimed.ids) == claimed.limit
            commits.commit_outcomes(claimed, findings(claimed))
            return claimed.limit
        return claimed


def pass_time(seconds):
    query(f"UPDATE pace SET paced_at = paced_at - interval '{seconds} s' RETURNING 1")


# Emails a minute, and what a turn gets at first, half a second later, and an hour later; a pair is
# the bounds of the seconds to wait.
SHARES = [
    (600, 10, 5, 10),
    (60, 1, (0.2, 0.5), 1),
    (90, 1, 1, 1),
    (11, 1, (4.5, 5), 1),
    (1, 1, (58, 59.5), 1),
]


@pytest.mark.parametrize(("per_minute", "first", "soon", "late"), SHARES)
def test_a_turn_gets_what_is_due_and_never_more_than_a_seconds_worth(
    database, per_minute, first, soon, late
):
    batch_id = rated(per_minute)
    assert turn(batch_id) == first
    pass_time(0.5)
    got = turn(batch_id)
    if isinstance(soon, tuple):
        assert soon[0] < got.seconds <= soon[1]
        assert not got.everyone
    else:
        assert soon <= got <= soon + 1
    pass_time(3600)
    assert turn(batch_id) == late
    assert_books_balance()


def test_turns_at_the_same_moment_do_not_get_the_same_emails_of_a_rate(database):
    batch_id = rated(600, chunk_size=1)
    got = in_threads(*[lambda: turn(batch_id)] * 16)
    assert 10 <= sum(each for each in got if isinstance(each, int)) <= 16
    batch_id = rated(60, chunk_size=1)
    got = in_threads(*[lambda: turn(batch_id)] * 16)
    assert got.count(1) == 1
    assert sum(isinstance(each, Wait) for each in got) == 15


def test_a_turn_that_finds_no_chunk_takes_nothing_of_the_rate(database):
    batch_id = rated(60, 1)
    with session():
        changes.pause(batch_id)
    assert turn(batch_id) is None
    with session():
        changes.resume(batch_id)
    assert turn(batch_id) == 1
    assert snapshot(batch_id).status == "completed"


def test_a_chunk_is_done_turn_by_turn_and_its_rest_shared_with_other_threads(database):
    batch_id = rated(600, 100)
    total = 0
    for _ in range(30):
        got = turn(batch_id)
        total += got or 0
        assert snapshot(batch_id).processed == total
        assert_books_balance()
        if got is None:
            break
        pass_time(1)
    assert (total, snapshot(batch_id).status) == (100, "completed")
    assert query("SELECT count(*) > 1 FROM chunk") == [(True,)]


def test_what_a_turn_did_not_process_is_given_back(database):
    batch_id = rated(600)
    processor = rated_check(600)
    with session(), database_module.own_transactions():
        claimed = claim_next(batch_id, processor)
        allowances.return_unused(batch_id, processor.rate, 7)
        commits.commit_outcomes(claimed, Findings(3))
    assert 7 <= turn(batch_id, processor) <= 9


def test_the_rate_of_a_processor_holds_for_all_batches(database):
    processor = rated_check(120)
    slow, other = rated(60), store(*ADDRESSES).batch_id
    assert turn(slow, processor) == 1
    assert turn(slow, processor) == Wait(pytest.approx(1, abs=0.5), everyone=False)
    assert turn(other, processor) == 1
    waits = turn(other, processor)
    assert (0 < waits.seconds <= 0.5, waits.everyone) == (True, True)
    # A worker that isn't told of the rate yet goes on, and each processor has its own.
    assert turn(other, replace(rated_check(600), name="other")) == 10
    with session():
        assert lose_turn(other).limit is None


def test_a_clock_that_is_set_back_does_not_stop_a_batch(database):
    batch_id = rated(60)
    assert turn(batch_id) == 1
    pass_time(-3600)
    assert turn(batch_id) == 1
    assert isinstance(turn(batch_id), Wait)


def test_batches_that_get_nothing_at_this_moment_are_not_rung_for(database):
    waits, goes_on = rated(1), store(*ADDRESSES).batch_id
    with session():
        assert snapshots.unfinished_batches(CHECK) == [waits, goes_on]
    turn(waits)
    with session():
        assert snapshots.unfinished_batches(CHECK) == [goes_on]
    pass_time(60)
    with session():
        assert snapshots.unfinished_batches(CHECK) == [waits, goes_on]


def test_a_rate_is_set_changed_and_taken_off(database):
    batch_id = store(*ADDRESSES).batch_id
    for per_minute, told in ((60, 60), (60, 60), (600, 600), (None, None), (None, None)):
        with session():
            after = changes.set_rate(batch_id, "anna", per_minute)
        assert after == snapshot(batch_id)
        assert after.per_minute == told
    assert query("SELECT kind, user_name, which FROM action ORDER BY id") == [
        ("rate", "anna", "60"),
        ("rate", "anna", "600"),
        ("rate", "anna", "none"),
    ]
    take_turns(batch_id, [])
    assert snapshot(batch_id).status == "completed"
    with session():
        assert changes.set_rate(10**9, None, 60) is None


def test_a_batch_that_has_ended_is_given_no_rate(database):
    batch_id = completed()
    with session(), pytest.raises(StateError, match="can't be given a rate"):
        changes.set_rate(batch_id, None, 60)


def test_a_batch_without_a_rate_writes_nothing_for_it(database):
    batch_id = store(*ADDRESSES).batch_id
    take_turns(batch_id, [])
    with session():
        assert pool.execute_sql("SELECT count(*) FROM pace").fetchone() == (0,)


def test_a_rate_that_is_taken_off_while_a_turn_begins_limits_nothing(database, monkeypatch):
    batch_id = rated(600)
    has_rate = allowances.has_rate

    def set_rate(number):
        with session():
            changes.set_rate(number, None, None)

    def take_off(number):
        found = has_rate(number)
        # In another thread, because this one rolls its transaction back.
        in_threads(lambda: set_rate(number))
        return found

    monkeypatch.setattr(allowances, "has_rate", take_off)
    assert turn(batch_id) == 500
