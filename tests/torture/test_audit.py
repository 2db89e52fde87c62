"""What would be wrong after a torture run is found."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial

import pytest

from batches import changes, finishing
from harness.batches import store
from harness.books import execute_at, query, snapshot
from harness.polling import eventually
from postgres.database import session
from processors import PROCESSED, Item, Later, Outcome, failed, once, per_item
from processors.check import check
from torture.audit import audit
from torture.calls import Calls
from torture.expected import ACKNOWLEDGED, BROKEN_OFF, UNKNOWN, Row
from torture.processor import UNUSUAL, answer


@dataclass
class Listed:
    """An upload of store(): these addresses, one a line."""

    addresses: list[str]
    standing: str = ACKNOWLEDGED
    filename: str = "list.csv"
    asked: set[str] = field(default_factory=set)

    def rows(self) -> Iterator[Row]:
        for line, address in enumerate(self.addresses, start=1):
            word = address.partition(".")[0]
            outcome = PROCESSED if "@" in address else failed("no_at_sign")
            rounds, outcome = UNUSUAL.get(word, (1, outcome))
            expected = outcome.status, outcome.reason, rounds, word == "stops"
            yield Row("email", line, f"{address}\n", address, *expected)


ADDRESSES = ["a@example.com", "b", "c@example.com", "d", "e@example.com"]


@pytest.fixture
def verdict_on(servers, database):
    """What the audit says of everything in the database."""

    return lambda *uploads: audit(servers.database_url, uploads)


@pytest.fixture
def change(servers, database):
    """Execute a statement that nobody should."""

    return partial(execute_at, servers.database_url)


@pytest.fixture
def processed(make_turns, queue) -> Callable[[], int]:
    """Store a batch of ADDRESSES in chunks of two, and process it; its id."""

    def make() -> int:
        batch_id = store(*ADDRESSES, chunk_size=2).batch_id
        turns = make_turns(check)
        for _ in range(3):
            queue.enqueue(batch_id)
            turns.run_once()
        return batch_id

    return make


class TestAudit:
    """What is wrong is counted as it is: exactly that, and nothing else."""

    def test_all_is_well(self, processed, verdict_on):
        processed()
        verdict = verdict_on(Listed(ADDRESSES))
        assert verdict.clean
        assert (verdict.batches, verdict.emails, verdict.processed, verdict.failed) == (1, 5, 5, 2)
        assert (verdict.lost, verdict.doubled, verdict.redone) == (0, 0, 0)

    @pytest.mark.parametrize(
        ("sql", "lost", "doubled"),
        [
            # Counted once already, it would be counted again.
            ("UPDATE email SET status = 'pending', reason = NULL WHERE id = 1", 1, 1),
            ("UPDATE email SET reason = 'no_domain' WHERE id = 2", 1, 0),
            ("UPDATE email SET status = 'processed', reason = NULL WHERE id = 2", 1, 1),
            ("UPDATE email SET reason = 'odd' WHERE id = 1", 1, 0),
            ("UPDATE email SET email = 'z@example.com' WHERE id = 1", 1, 0),
            ("UPDATE email SET row_number = 9 WHERE id = 1", 1, 0),
            ("DELETE FROM email WHERE id = 1", 1, 1),
            (
                "INSERT INTO email SELECT batch_id, 6, email, 6, status FROM email WHERE id = 1",
                0,
                1,
            ),
            ("UPDATE batch SET failed_count = failed_count + 1", 0, 1),
            ("UPDATE batch SET failed_count = failed_count - 1", 0, 0),
            ("UPDATE batch SET total_rows = total_rows + 1, blank_rows = 1", 0, 0),
            ("UPDATE chunk SET done = 1 WHERE first_id = 3", 0, 0),
            ("UPDATE chunk SET reasons = '{}' WHERE first_id = 1", 0, 0),
            ("DELETE FROM chunk WHERE first_id = 1", 0, 0),
            ("DELETE FROM chunk WHERE first_id = 5", 0, 0),
            ("UPDATE chunk SET first_id = 2 WHERE first_id = 3", 0, 0),
            ("UPDATE batch SET filename = 'other.csv'", 5, 5),
            ("DELETE FROM email; DELETE FROM batch", 5, 0),
        ],
    )
    def test_what_was_tampered_with_is_found(
        self, processed, verdict_on, change, sql, lost, doubled
    ):
        processed()
        change(sql)
        verdict = verdict_on(Listed(ADDRESSES))
        assert not verdict.clean
        assert (verdict.lost, verdict.doubled) == (lost, doubled)
        assert verdict.faults.sentences

    def test_an_email_that_was_counted_twice_is_doubled_and_a_pending_one_lost(
        self, verdict_on, change, make_turns, queue
    ):
        batch_id = store(*ADDRESSES, chunk_size=2).batch_id
        queue.enqueue(batch_id)
        make_turns(check).run_once()
        verdict = verdict_on(Listed(ADDRESSES))
        assert (verdict.lost, verdict.doubled, verdict.processed) == (3, 0, 2)
        change("UPDATE batch SET processed_count = processed_count + 1")
        verdict = verdict_on(Listed(ADDRESSES))
        assert (verdict.lost, verdict.doubled, verdict.processed) == (3, 1, 2)

    def test_a_half_stored_batch_is_found(self, processed, verdict_on, change):
        batch_id = processed()
        change(
            "INSERT INTO email (batch_id, id, email, row_number)"
            " SELECT %s, id, 'x@example.com', id FROM generate_series(1, 7) AS id",
            batch_id + 3,
        )
        verdict = verdict_on(Listed(ADDRESSES))
        assert (verdict.lost, verdict.doubled) == (0, 7)
        assert f"batch {batch_id + 3}: half stored, 7 emails but no batch" in str(
            verdict.faults.sentences
        )

    def test_a_batch_that_is_stored_twice_is_doubled(self, processed, verdict_on):
        processed()
        processed()
        verdict = verdict_on(Listed(ADDRESSES))
        assert (verdict.lost, verdict.doubled, verdict.batches) == (0, 5, 2)

    def test_what_nobody_answered_for_may_be_there_or_not_but_not_twice(
        self, processed, verdict_on
    ):
        upload = Listed(ADDRESSES, UNKNOWN)
        assert verdict_on(upload).clean
        processed()
        verdict = verdict_on(upload)
        assert verdict.clean
        assert verdict.unknown_stored == 1
        processed()
        assert verdict_on(upload).doubled == 5

    def test_what_was_broken_off_must_not_be_there(self, processed, verdict_on):
        upload = Listed(ADDRESSES, BROKEN_OFF)
        assert verdict_on(upload).clean
        processed()
        verdict = verdict_on(upload)
        assert (verdict.lost, verdict.doubled) == (0, 5)

    def test_a_row_that_was_counted_as_another_kind_is_found(self, database, verdict_on):
        store(*ADDRESSES, "")
        verdict = verdict_on(Listed(ADDRESSES))
        assert any("its rows were counted as" in each for each in verdict.faults.sentences)
        assert query("SELECT blank_rows FROM batch") == [(1,)]

    def test_a_batch_is_cancelled_if_people_asked_for_it_and_only_then(self, database, verdict_on):
        batch_id = store(*ADDRESSES).batch_id
        with session():
            changes.cancel(batch_id)
        assert "isn't counted" in str(verdict_on(Listed(ADDRESSES)).faults.sentences)
        with session():
            finishing.settle(batch_id)
        assert verdict_on(Listed(ADDRESSES)).faults.count == 1
        verdict = verdict_on(Listed(ADDRESSES, asked={"cancel", "cancelled"}))
        assert verdict.clean
        assert (verdict.processed, verdict.cancelled) == (0, 5)

    def test_a_batch_that_was_said_to_be_cancelled_is(self, processed, verdict_on):
        processed()
        assert verdict_on(Listed(ADDRESSES, asked={"cancel"})).clean
        assert not verdict_on(Listed(ADDRESSES, asked={"cancel", "cancelled"})).clean

    def test_without_calls_no_email_may_be_interrupted(self, processed, verdict_on, change):
        processed()
        change("UPDATE email SET reason = 'interrupted' WHERE id = 1")
        assert verdict_on(Listed(ADDRESSES)).lost == 1


UNUSUAL_ADDRESSES = ["a@example.com", *(f"{word}.1@example.com" for word in UNUSUAL)]


@pytest.fixture
def keys(make_turns, database):
    """The keys of all calls, once a batch of unusual addresses has been processed."""
    keys = []

    def work(item: Item) -> Outcome | Later:
        keys.append(item.key)
        return answer(item, stop=item.round == 1)

    turns = make_turns(once(per_item(work)))
    batch_id = store(*UNUSUAL_ADDRESSES, chunk_size=3).batch_id

    def ended() -> bool:
        with session(60) as current:
            changes.resume(batch_id)
            turns.take_turn("check", batch_id, current)
        return snapshot(batch_id).status == "completed"

    eventually(ended)
    assert batch_id == 1
    return keys


class TestCalls:
    """Each call is an outcome or interrupted, and no key comes twice."""

    @pytest.fixture
    def verdict(self, servers):
        """What the audit says of these keys, when so many emails may be interrupted."""

        def verdict(keys, most=0, again=None):
            calls = Calls(keys, again)
            return audit(servers.database_url, [Listed(UNUSUAL_ADDRESSES)], calls, most)

        return verdict

    def test_all_is_well(self, keys, verdict):
        found = verdict(keys)
        assert found.clean, found.faults.sentences
        assert found.calls == len(keys) == 1 + sum(rounds for rounds, _ in UNUSUAL.values())
        assert (found.interrupted, len(found.stopped)) == ([], 1)

    def test_a_key_that_came_again_is_found(self, keys, verdict):
        found = verdict([*keys, keys[0]])
        assert not found.clean
        assert (found.calls, found.repeated, found.miscalled) == (len(keys) + 1, 1, 0)
        assert f"{keys[0]}: this key came again" in found.faults.sentences

    def test_every_call_that_is_lost_is_found(self, keys, verdict):
        stopped = f"b1-e{1 + UNUSUAL_ADDRESSES.index('stops.1@example.com')}-r1"
        for key in keys:
            found = verdict([each for each in keys if each != key])
            # Only of an interrupted email, nobody knows whether it was called.
            assert found.miscalled == (key != stopped), key

    @pytest.mark.parametrize("key", ["b1-e1-r2", "b1-e7-r1", "b2-e1-r1", "odd"])
    def test_a_call_too_many_is_found(self, keys, verdict, key):
        assert verdict(keys).clean
        found = verdict([*keys, key])
        assert not found.clean
        assert found.miscalled == (key != "odd")

    def test_too_many_interrupted_emails_are_found(self, keys, verdict, change):
        change("UPDATE email SET reason = 'interrupted' WHERE id = 1")
        for most, limited in ((0, True), (1, False)):
            found = verdict(keys, most)
            assert found.interrupted == [(1, 1)]
            assert any("are interrupted" in each for each in found.faults.sentences) == limited
            assert (found.lost, found.miscalled) == (0, 0)

    def test_what_was_handed_out_again_must_have_been_called_again(self, keys, verdict, change):
        again = {(1, 1): {1}}
        assert verdict(keys, again=again).miscalled == 1
        assert verdict([*keys, "b1-e1-r2"], again=again).clean
        assert verdict([*keys, "b1-e1-r3"], again=again).clean
        assert verdict([*keys, "b1-e1-r2", "b1-e1-r4"], again=again).miscalled == 1
        change("UPDATE email SET reason = 'interrupted' WHERE id = 1")
        assert verdict([*keys, "b1-e1-r2"], 1, again).lost == 1
