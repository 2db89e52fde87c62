import threading

import pytest

from batches import changes, commits, removal, snapshots
from batches.changes import StateError
from harness.batches import (
    ADDRESSES,
    MARKED,
    claim_next,
    completed,
    findings,
    start,
    store,
    take_turns,
)
from harness.books import assert_books_balance, emails, remains, snapshot
from harness.polling import in_threads
from postgres.database import pool, session
from processors import reasons


def retry(batch_id, which, *reasons):
    with session():
        return changes.retry(batch_id, which, reasons, lambda: None)


def test_a_batch_sums_its_outcomes_by_reason_as_it_goes(database):
    batch_id = completed()
    assert snapshot(batch_id).reasons == {
        "too_long": 2, "no_at_sign": 1, "dns_timeout": 1, "role_account": 1,
    }  # fmt: skip
    assert_books_balance()


def test_turns_that_end_at_the_same_moment_sum_up(database):
    batch_id = store(*(f"user{n}@x.de" for n in range(40)), chunk_size=5).batch_id

    def turn():
        claim = claim_next(batch_id)
        marked = [(email_id, "failed", f"reason_{email_id % 3}") for email_id in claim.ids]
        commits.commit_outcomes(claim, findings(claim, marked))
        return True

    def turns():
        with pool.atomic():
            return turn()

    start(batch_id)
    in_threads(*[turns] * 8)
    assert snapshot(batch_id).status == "completed"
    assert_books_balance()


def test_reasons_beyond_the_most_are_summed_as_others(database, monkeypatch):
    monkeypatch.setattr(reasons, "MAX_REASONS", 3)
    batch_id = completed([(n, "failed", f"reason_{n}") for n in range(1, 8)], chunk_size=5)
    assert sum(snapshot(batch_id).reasons.values()) == 7
    assert snapshot(batch_id).reasons["other_reasons"] == 2


def test_built_in_reasons_are_counted_however_many_others_there_are(database):
    """A page offers to repeat interrupted emails by their count, and verdicts follow from it."""
    number = reasons.MAX_REASONS + 2
    batch_id = store(*(f"{each}@x.de" for each in range(number + 1)), chunk_size=number).batch_id
    own = [(each, "processed", f"reason_{each}") for each in range(1, number)]
    mine = [(number, "processed", "unknown"), (number + 1, "processed", "interrupted")]
    take_turns(batch_id, [*own, *mine])
    found = snapshot(batch_id).reasons
    assert [found.get(each) for each in ("unknown", "interrupted", "other_reasons")] == [1, 1, 1]


@pytest.mark.parametrize(
    ("which", "reasons", "again"),
    [
        ("failed", [], [1, 2, 9]),
        ("reason", ["too_long"], [1, 9]),
        ("unknown", ["dns_timeout", "dns_error"], [4]),
        ("reason", ["role_account"], [8]),
    ],
)
def test_retry_requeues_what_is_chosen_and_nothing_else(database, which, reasons, again):
    batch_id = completed()
    before = emails(batch_id)
    count, after = retry(batch_id, which, *reasons)
    assert (count, after.status, after.processed) == (len(again), "pending", 10 - len(again))
    assert snapshot(batch_id) == after
    assert emails(batch_id) == [
        (address, "pending", None) if number in again else (address, status, reason)
        for number, (address, status, reason) in enumerate(before, start=1)
    ]
    assert_books_balance()
    take_turns(batch_id, [])
    assert snapshot(batch_id).status == "completed"
    assert snapshot(batch_id).processed == 10
    assert_books_balance()


def test_a_retry_of_nothing_changes_nothing(database):
    batch_id = completed()
    before = snapshot(batch_id)
    assert retry(batch_id, "reason", "bad_domain") == (0, before)


def test_only_a_completed_batch_is_retried(database):
    batch_id = store(*ADDRESSES).batch_id
    with pytest.raises(StateError, match="pending, so nothing is requeued"):
        retry(batch_id, "failed")
    assert retry(batch_id + 1, "failed") is None


def test_two_retries_at_the_same_moment_requeue_once(database):
    batch_id = completed()

    def one():
        try:
            return changes.retry(batch_id, "failed", [], lambda: None)[0]
        except StateError:
            return "refused"

    assert sorted(map(str, in_threads(one, one, one))) == ["3", "refused", "refused"]
    assert_books_balance()


def test_cancelling_keeps_what_is_counted_and_stops_the_rest(database):
    batch_id = store(*ADDRESSES, chunk_size=5).batch_id
    with session(), pool.atomic():
        claim = claim_next(batch_id)
        commits.commit_outcomes(claim, findings(claim, MARKED[:3]))
    with session(), pool.atomic() as turn:
        claim = claim_next(batch_id)
        cancelled = in_threads(lambda: changes.cancel(batch_id))[0]
        assert commits.commit_outcomes(claim, findings(claim)) is None
        turn.rollback()
    assert (cancelled.status, cancelled.processed, cancelled.failed) == ("cancelled", 5, 2)
    with session():
        assert changes.cancel(batch_id) == cancelled == snapshot(batch_id)
        assert claim_next(batch_id) is None
    assert_books_balance()


def test_what_has_ended_cannot_be_cancelled(database):
    batch_id = completed()
    with session(), pytest.raises(StateError, match="is completed and can't be cancelled"):
        changes.cancel(batch_id)
    with session():
        assert changes.cancel(batch_id + 1) is None


def test_a_deleted_batch_is_gone_at_once_and_its_rows_piece_by_piece(database, monkeypatch):
    monkeypatch.setattr(removal, "_REMOVED", (("email", "id", 4), ("chunk", "first_id", 2)))
    other, batch_id = completed(), completed()
    with session():
        before = snapshot(batch_id)
        deleted = changes.delete(batch_id)
        assert (deleted.status, deleted.revision) == ("deleted", before.revision + 1)
        assert deleted.terminal
        assert changes.delete(batch_id) is None
        assert snapshots.present([batch_id]) == []
        with pytest.raises(StateError, match="was deleted"):
            retry_or_raise(batch_id)
        left = [remains() for _ in removal.remove_pieces(batch_id)]
    assert left == [(2, 8, 16), (2, 8, 12), (2, 8, 10), (2, 6, 10), (2, 4, 10)]
    assert remains() == (1, 4, 10)
    assert snapshot(other).status == "completed"


def retry_or_raise(batch_id):
    if changes.retry(batch_id, "failed", [], lambda: None) is None:
        raise StateError("was deleted")


def test_only_what_has_ended_is_deleted(database):
    batch_id = store(*ADDRESSES).batch_id
    with session():
        with pytest.raises(StateError, match="Cancel it first"):
            changes.delete(batch_id)
        changes.cancel(batch_id)
        assert changes.delete(batch_id).status == "deleted"


def test_a_removal_locks_nobody_out_of_other_batches(database):
    batch_id, other = completed(), store(*ADDRESSES).batch_id
    removed = threading.Event()
    with session():
        changes.delete(batch_id)
        with pool.atomic():
            next(removal.remove_pieces(batch_id))
            in_threads(lambda: take_turns_of(other, removed))
    assert removed.is_set()


def take_turns_of(batch_id, done):
    with pool.atomic():
        claim = claim_next(batch_id)
        commits.commit_outcomes(claim, findings(claim))
    done.set()
