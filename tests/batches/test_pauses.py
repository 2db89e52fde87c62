"""Batches that are paused: who may do what in which state, and that nothing begins meanwhile."""

import threading
from datetime import UTC, datetime, timedelta

import pytest

from batches import changes, commits, queries, snapshots
from batches.changes import StateError
from batches.intake import Upload
from harness.batches import ADDRESSES, CHECK, claim_next, completed, findings, store, take_turns
from harness.books import assert_books_balance, query, snapshot
from harness.polling import eventually, in_threads
from postgres import database as database_module
from postgres.database import pool, session

NOW = datetime.now(UTC)


def change(function, *arguments):
    with session():
        return function(*arguments)


def pending():
    return store(*ADDRESSES, chunk_size=5).batch_id


def processing():
    batch_id = pending()
    with session(), pool.atomic():
        claim = claim_next(batch_id)
        commits.commit_outcomes(claim, findings(claim))
    return batch_id


def paused():
    batch_id = processing()
    change(changes.pause, batch_id, "anna")
    return batch_id


def paused_until():
    return store(*ADDRESSES, upload=Upload("anna", True, NOW + timedelta(hours=1))).batch_id


def cancelled():
    batch_id = paused()
    change(changes.cancel, batch_id)
    return batch_id


# For each state and request: the status and whether the batch is paused afterwards, or the words
# of the refusal.
TRANSITIONS = [
    (pending, "pause", ("pending", True)),
    (pending, "resume", ("pending", False)),
    (processing, "pause", ("processing", True)),
    (processing, "resume", ("processing", False)),
    (paused, "pause", ("processing", True)),
    (paused, "resume", ("processing", False)),
    (paused, "cancel", ("cancelled", False)),
    (paused, "delete", "Cancel it first"),
    (paused, "retry", "is processing, so nothing is requeued"),
    (paused_until, "pause", ("pending", True)),
    (paused_until, "resume", ("pending", False)),
    (paused_until, "cancel", ("cancelled", False)),
    (completed, "pause", "is completed and can't be paused"),
    (completed, "resume", "is completed and can't be resumed"),
    (cancelled, "pause", "is cancelled and can't be paused"),
    (cancelled, "resume", "is cancelled and can't be resumed"),
    (pending, "rate", ("pending", False)),
    (processing, "rate", ("processing", False)),
    (paused, "rate", ("processing", True)),
    (paused_until, "rate", ("pending", True)),
    (completed, "rate", "is completed and can't be given a rate"),
    (cancelled, "rate", "is cancelled and can't be given a rate"),
]
REQUESTS = {
    "pause": changes.pause,
    "resume": changes.resume,
    "cancel": changes.cancel,
    "delete": changes.delete,
    "rate": lambda batch_id: changes.set_rate(batch_id, None, 60),
    "retry": lambda batch_id: changes.retry(batch_id, "failed", [], lambda: None),
}


@pytest.mark.parametrize(("state", "request_", "expected"), TRANSITIONS)
def test_what_each_request_does_in_each_state(database, state, request_, expected):
    batch_id = state()
    before = snapshot(batch_id)
    if isinstance(expected, str):
        with pytest.raises(StateError, match=expected):
            change(REQUESTS[request_], batch_id)
        assert snapshot(batch_id) == before
        return
    after = change(REQUESTS[request_], batch_id)
    assert (after.status, after.paused is not None) == expected
    assert snapshot(batch_id) == after == change(REQUESTS[request_], batch_id)
    assert_books_balance()


@pytest.mark.parametrize("request_", ["pause", "resume", "rate"])
def test_two_who_ask_for_the_same_at_one_moment_do_it_once(database, request_):
    batch_id = {"pause": processing, "resume": paused, "rate": processing}[request_]()
    revision = snapshot(batch_id).revision
    done = in_threads(*[lambda: REQUESTS[request_](batch_id)] * 4)
    assert {each.revision for each in done} == {revision + 1}
    kinds = query("SELECT kind FROM action WHERE batch_id = %s ORDER BY id", batch_id)
    done = {"pause": ["paused"], "resume": ["paused", "resumed"], "rate": ["rate"]}
    assert [kind for (kind,) in kinds] == done[request_]


def test_a_pause_tells_who_and_when_and_lasts_until_somebody_resumes(database):
    batch_id = paused()
    told = snapshot(batch_id).paused
    assert told == {"by": "anna", "at": told["at"], "why": None, "until": None}
    assert abs(datetime.fromisoformat(told["at"]) - datetime.now(UTC)) < timedelta(minutes=1)
    assert change(changes.resume_due) == []
    assert snapshot(batch_id).paused == told
    assert change(changes.pause, 10**9) is None
    assert change(changes.resume, 10**9) is None


def test_nothing_begins_while_a_batch_is_paused_and_what_is_under_way_is_counted(database):
    batch_id = pending()
    with session(), pool.atomic():
        claim = claim_next(batch_id)
        in_threads(lambda: changes.pause(batch_id))
        after = commits.commit_outcomes(claim, findings(claim))
    assert (after.status, after.processed, after.paused is None) == ("processing", 5, False)
    with session():
        assert claim_next(batch_id) is None
        assert snapshots.unfinished_batches(CHECK) == []
        assert queries.backlog("check").unfinished == 0
        changes.resume(batch_id)
        assert snapshots.unfinished_batches(CHECK) == [batch_id]
    take_turns(batch_id, [])
    assert snapshot(batch_id).status == "completed"
    assert_books_balance()


def test_a_pause_returns_when_the_turns_under_way_have_ended(database):
    batch_id = pending()
    claimed = threading.Event()

    def turn():
        with pool.atomic():
            claim = claim_next(batch_id)
            claimed.set()
            eventually(lambda: snapshot(batch_id).paused)
            commits.commit_outcomes(claim, findings(claim))

    def pause():
        assert claimed.wait(60)
        return changes.pause(batch_id)

    _, after = in_threads(turn, pause)
    assert (after, after.processed) == (snapshot(batch_id), 5)


def test_a_turn_that_has_begun_when_the_batch_is_paused_is_not_lost(database, monkeypatch):
    batch_id = pending()
    begin = database_module.begin
    # Between the two transactions in which a chunk is claimed, as if another session paused it.
    pause = f"UPDATE batch SET paused_at = now() WHERE id = {batch_id};"
    monkeypatch.setattr(database_module, "begin", lambda: pause + begin())
    with session(), database_module.own_transactions():
        claim = claim_next(batch_id)
        after = commits.commit_outcomes(claim, findings(claim))
    assert (after.processed, after.paused is None) == (5, False)
    assert query("SELECT sum(attempts + redone) FROM chunk") == [(0,)]


def test_a_batch_that_ends_while_it_is_paused_is_paused_no_more(database):
    batch_id = store("a@x.de", "b@x.de").batch_id
    with session(), pool.atomic():
        claim = claim_next(batch_id)
        in_threads(lambda: changes.pause(batch_id))
        after = commits.commit_outcomes(claim, findings(claim, [(1, "failed", "odd")]))
    assert (after.status, after.paused) == ("completed", None)
    assert snapshot(batch_id) == after
    with session():
        changes.retry(batch_id, "failed", [], lambda: None)
    assert snapshot(batch_id).paused is None
    take_turns(batch_id, [])
    assert snapshot(batch_id).status == "completed"


def test_an_upload_may_begin_paused_and_go_on_at_a_time(database):
    until = NOW + timedelta(hours=1)
    batch_id = store(*ADDRESSES, upload=Upload("anna", True, until)).batch_id
    told = snapshot(batch_id).paused
    assert (told["by"], datetime.fromisoformat(told["until"])) == (
        "anna",
        until.replace(microsecond=until.microsecond // 1000 * 1000),
    )
    with session():
        assert claim_next(batch_id) is None
    assert change(changes.resume_due) == []
    query("UPDATE batch SET resume_at = now() RETURNING 1")
    (resumed,) = change(changes.resume_due)
    assert (resumed, resumed.paused) == (snapshot(batch_id), None)
    assert query("SELECT kind, user_name FROM action") == [("resumed", None)]
    assert change(changes.resume_due) == []
    take_turns(batch_id, [])
    assert snapshot(batch_id).status == "completed"
