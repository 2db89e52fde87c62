"""Turns of processors whose work must not be repeated: what dies, hangs, is paused or retried."""

import contextlib
import threading

import pytest

from batches import changes, finishing, snapshots
from harness.batches import CHECK, store
from harness.books import assert_books_balance, emails, query, snapshot
from harness.polling import in_threads
from postgres import beside
from postgres.database import UNREACHABLE, pool, session
from processors import Item, Stop, later, once, per_item
from processors.reasons import named


class Dead(BaseException):
    """Ends a turn as the death of its process does."""


class Recorder:
    """A processor that keeps the items it gets, and calls `act` with the number of each."""

    def __init__(self):
        self.items = []
        self.act = lambda number: None
        self.processor = once(per_item(self._take))

    @property
    def keys(self):
        return [item.key for item in self.items]

    def _take(self, item):
        self.items.append(item)
        return self.act(int(item.address.partition("@")[0]))


@pytest.fixture
def recorder():
    return Recorder()


@pytest.fixture
def batch_id(database):
    return store(*(f"{number}@x.de" for number in range(1, 7)), chunk_size=3).batch_id


def process(turns, batch_id):
    """Take turns on the batch while it has emails to be processed, also after one that dies."""
    with session():
        unfinished = snapshots.unfinished_batches(CHECK)
    while unfinished:
        with session(60) as current, contextlib.suppress(Dead):
            turns.take_turn("check", batch_id, current)
        with session():
            unfinished = snapshots.unfinished_batches(CHECK)
    assert_books_balance()


def reasons(batch_id):
    return [reason for _, _, reason in emails(batch_id)]


def test_a_processor_gets_items_with_keys(make_turns, recorder, batch_id):
    recorder.act = lambda number: "bad" if number == 2 else None
    process(make_turns(recorder.processor), batch_id)
    assert recorder.items == [Item(f"{n}@x.de", f"b{batch_id}-e{n}-r1", 1) for n in range(1, 7)]
    assert reasons(batch_id) == [None, "bad", None, None, None, None]
    assert snapshot(batch_id).status == "completed"


def test_a_processor_that_may_repeat_gets_items_too(make_turns, batch_id):
    seen = []
    process(make_turns(per_item(lambda item: seen.append(item.key))), batch_id)
    assert seen == [f"b{batch_id}-e{n}-r1" for n in range(1, 7)]
    assert query("SELECT count(*) FROM journal") == [(0,)]


def test_of_a_turn_that_dies_outcomes_are_kept_and_the_email_under_way_is_interrupted(
    make_turns, recorder, batch_id
):
    def act(number):
        if number == 3:
            raise Dead
        return {1: "bad", 5: later("unknown", 60)}.get(number)

    recorder.act = act
    process(make_turns(recorder.processor), batch_id)
    assert recorder.keys == [f"b{batch_id}-e{n}-r1" for n in range(1, 7)]
    assert reasons(batch_id) == ["bad", None, "interrupted", None, None, None]
    found = snapshot(batch_id)
    assert (found.status, found.processed, found.waiting) == ("processing", 5, 1)


def test_every_turn_may_die_and_nothing_is_handed_out_twice(make_turns, recorder, batch_id):
    def act(number):
        raise Dead

    recorder.act = act
    process(make_turns(recorder.processor), batch_id)
    assert len(recorder.keys) == len({*recorder.keys}) == 6
    assert reasons(batch_id) == ["interrupted"] * 6
    assert snapshot(batch_id).reasons == {"interrupted": 6}


@pytest.mark.parametrize(
    ("which", "again"), [("failed", [1]), ("unknown", [2]), ("interrupted", [3])]
)
def test_only_a_retry_of_exactly_the_interrupted_emails_hands_them_out_again(
    make_turns, recorder, batch_id, which, again
):
    def act(number):
        if number == 3 and len(recorder.keys) == 3:
            raise Dead
        return {1: "bad", 2: later("unknown", 0.001)}.get(number)

    recorder.act = act
    turns = make_turns(recorder.processor, worker__later_rounds=1)
    process(turns, batch_id)
    assert reasons(batch_id)[:3] == ["bad", "unknown", "interrupted"]
    recorder.items.clear()
    with session():
        changes.retry(batch_id, which, named(which), lambda: None)
    process(turns, batch_id)
    assert recorder.keys == [f"b{batch_id}-e{n}-r2" for n in again]


def test_a_round_that_follows_has_keys_of_its_own(make_turns, recorder, batch_id):
    recorder.act = lambda number: later("unknown", 0.001) if number < 3 else None
    turns = make_turns(recorder.processor, worker__later_rounds=3)
    while snapshot(batch_id).status != "completed":
        process(turns, batch_id)
    assert len(recorder.keys) == len({*recorder.keys}) == 2 * 3 + 4
    assert Item("2@x.de", f"b{batch_id}-e2-r3", 3) in recorder.items


def test_the_outcomes_of_a_later_round_are_taken_over_too(make_turns, recorder, batch_id):
    rounds = []

    def act(number):
        rounds.append(number)
        if number == 1 and rounds.count(1) == 1:
            return later("unknown", 0.001)
        if number == 1:
            raise Dead
        return None

    recorder.act = act
    turns = make_turns(recorder.processor)
    while snapshot(batch_id).status != "completed":
        process(turns, batch_id)
    assert reasons(batch_id)[0] == "interrupted"
    assert recorder.keys.count(f"b{batch_id}-e1-r2") == 1


def wait_and_be_due(turns, recorder, batch_id):
    """Have the emails of the first chunk put off, and their time come."""
    recorder.act = lambda number: later("unknown", 3600) if number < 4 else None
    process(turns, batch_id)
    recorder.items.clear()
    with session():
        pool.execute_sql("UPDATE chunk SET due_at = now() WHERE due_at IS NOT NULL")
        pool.execute_sql("UPDATE batch SET next_at = (SELECT min(due_at) FROM chunk)")


def finish(batch_id):
    with session():
        return finishing.finish(batch_id, lambda snapshot: None)


def test_a_finished_batch_keeps_what_a_turn_that_died_had_handed_out(
    make_turns, recorder, batch_id
):
    def act(number):
        if number == 3:
            raise Dead
        return {1: "bad", 2: later("dns_error", 60)}.get(number)

    turns = make_turns(recorder.processor)
    wait_and_be_due(turns, recorder, batch_id)
    recorder.act = act
    with session(60) as current, pytest.raises(Dead):
        turns.take_turn("check", batch_id, current)
    assert finish(batch_id)[0] == 3
    assert_books_balance()
    assert reasons(batch_id)[:3] == ["bad", "dns_error", "interrupted"]
    assert snapshot(batch_id).failed == 1


def test_a_turn_that_was_stopped_hands_nothing_out_once_its_batch_is_finished(
    make_turns, recorder, batch_id
):
    def act(number):
        # PostgreSQL gives up the turn of a worker that is stopped; the worker goes on afterwards.
        query(
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
            " WHERE state = 'idle in transaction' AND datname = current_database()"
        )
        assert finish(batch_id)[0] == 3

    turns = make_turns(recorder.processor)
    wait_and_be_due(turns, recorder, batch_id)
    recorder.act = lambda number: in_threads(lambda: act(number))
    with pytest.raises(UNREACHABLE), session(60) as current:
        turns.take_turn("check", batch_id, current)
    assert recorder.keys == [f"b{batch_id}-e1-r2"]
    assert reasons(batch_id)[:3] == ["interrupted", "unknown", "unknown"]
    assert_books_balance()


def settle(batch_id):
    with session():
        assert finishing.unsettled() == [batch_id]
        finishing.settle(batch_id)
        return finishing.unsettled()


def cancel(batch_id):
    with session():
        changes.cancel(batch_id)


def test_what_was_under_way_when_a_batch_was_cancelled_is_counted(make_turns, recorder, batch_id):
    left = []

    def act(number):
        if number == 2:
            in_threads(lambda: (cancel(batch_id), left.append(settle(batch_id))))
        return "bad" if number == 2 else None

    recorder.act = act
    with session(60) as current:
        make_turns(recorder.processor).take_turn("check", batch_id, current)
    # The turn has the chunk as long as it is under way.
    assert left == [[batch_id]]
    assert [status for _, status, _ in emails(batch_id)] == ["pending"] * 6
    assert settle(batch_id) == []
    assert recorder.keys == [f"b{batch_id}-e{n}-r1" for n in (1, 2)]
    assert reasons(batch_id) == [None, "bad", None, None, None, None]
    told = snapshot(batch_id)
    assert (told.status, told.processed, told.failed, told.waiting) == ("cancelled", 2, 1, 0)
    assert_books_balance()


def test_what_a_turn_that_died_had_handed_out_is_counted_when_its_batch_is_cancelled(
    make_turns, recorder, batch_id
):
    def act(number):
        if number == 3:
            raise Dead
        return later("dns_error", 60) if number == 1 else None

    recorder.act = act
    with session(60) as current, pytest.raises(Dead):
        make_turns(recorder.processor).take_turn("check", batch_id, current)
    cancel(batch_id)
    assert settle(batch_id) == []
    assert reasons(batch_id) == ["dns_error", None, "interrupted", None, None, None]
    assert (snapshot(batch_id).status, snapshot(batch_id).processed) == ("cancelled", 3)
    assert_books_balance()


def test_a_deleted_batch_is_not_settled_because_its_rows_are_being_removed(
    make_turns, recorder, batch_id
):
    recorder.act = lambda number: in_threads(lambda: cancel(batch_id)) and None
    with session(60) as current:
        make_turns(recorder.processor).take_turn("check", batch_id, current)
        assert finishing.unsettled() == [batch_id]
        changes.delete(batch_id)
        assert finishing.unsettled() == []


def test_a_batch_whose_emails_had_all_been_handed_out_is_completed_though_it_was_cancelled(
    make_turns, recorder
):
    batch_id = store("1@x.de").batch_id
    recorder.act = lambda number: in_threads(lambda: cancel(batch_id)) and None
    with session(60) as current:
        make_turns(recorder.processor).take_turn("check", batch_id, current)
    assert settle(batch_id) == []
    assert (snapshot(batch_id).status, snapshot(batch_id).processed) == ("completed", 1)
    assert_books_balance()


def test_if_the_journal_can_not_be_written_the_outcomes_so_far_are_kept(
    make_turns, recorder, batch_id, monkeypatch
):
    def refuse():
        monkeypatch.undo()
        raise beside.NoFurtherError

    def act(number):
        if number == 2:
            monkeypatch.setattr(beside, "connection", refuse)
        return "bad" if number == 2 else None

    recorder.act = act
    process(make_turns(recorder.processor), batch_id)
    assert recorder.keys == [f"b{batch_id}-e{n}-r1" for n in range(1, 7)]
    assert reasons(batch_id) == [None, "bad", None, None, None, None]


def test_all_that_was_handed_out_is_taken_over_whatever_a_rate_allows(
    make_turns, recorder, database
):
    batch_id = store(*(f"{number}@x.de" for number in range(1, 31)), chunk_size=30).batch_id

    def act(number):
        if number == 10:
            raise Dead
        if len(recorder.keys) > 10:
            raise Stop("enough")

    recorder.act = act
    turns = make_turns(recorder.processor)
    with session(60) as current, pytest.raises(Dead):
        turns.take_turn("check", batch_id, current)
    with session():
        pool.execute_sql("UPDATE batch SET per_minute = 120")  # at most two emails a turn
    while snapshot(batch_id).paused is None:
        with session(60) as current:
            turns.take_turn("check", batch_id, current)
    assert recorder.keys == [f"b{batch_id}-e{n}-r1" for n in range(1, 12)]
    assert reasons(batch_id)[8:12] == [None, "interrupted", "interrupted", None]
    assert_books_balance()


@pytest.mark.parametrize("change", [changes.pause, changes.cancel])
def test_nothing_is_handed_out_once_a_batch_is_paused_or_cancelled(
    make_turns, recorder, batch_id, change
):
    def act(number):
        if number == 2:
            thread = threading.Thread(target=by_somebody)
            thread.start()
            thread.join()

    def by_somebody():
        with session():
            change(batch_id)

    recorder.act = act
    process(make_turns(recorder.processor), batch_id)
    assert recorder.keys == [f"b{batch_id}-e{n}-r1" for n in (1, 2)]
    if change is changes.pause:
        assert snapshot(batch_id).processed == 2
        with session():
            changes.resume(batch_id)
        process(make_turns(recorder.processor), batch_id)
        assert reasons(batch_id) == [None] * 6
    assert len(recorder.keys) == len({*recorder.keys})


def test_a_processor_that_stops_pauses_its_batch_with_the_email_interrupted(
    make_turns, recorder, batch_id
):
    def act(number):
        if number == 2:
            raise Stop("quota used up")

    recorder.act = act
    process(make_turns(recorder.processor), batch_id)
    assert recorder.keys == [f"b{batch_id}-e{n}-r1" for n in (1, 2)]
    assert reasons(batch_id)[:3] == [None, "interrupted", None]
    found = snapshot(batch_id)
    assert (found.processed, found.paused["why"]) == (2, "quota used up")
