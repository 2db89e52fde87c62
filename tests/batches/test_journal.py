"""The journal by itself: who has a chunk's row, and what is found there."""

import contextlib
import dataclasses

import pytest

from batches.journal import Journal, _write
from harness.batches import claim_next, store
from harness.processors import listed
from postgres import beside, database
from postgres.database import session
from processors import INTERRUPTED, PROCESSED, Findings, Outcome, failed

SECONDS = 60
BAD = failed("bad")


@pytest.fixture
def batch_id(database):
    return store(*(f"{number}@x.de" for number in range(1, 6))).batch_id


@contextlib.contextmanager
def turn(batch_id):
    """Yield the journal of a turn that is never committed."""
    with session(SECONDS), database.own_transactions():
        while (claim := claim_next(batch_id, numbered=True)) is None:
            database.pool.rollback()  # for a moment, nobody may begin another turn on the chunk
        yield Journal(claim)


def note(journal, count, *outcomes):
    findings = Findings()
    for outcome in outcomes:
        findings.add(outcome)
    return journal.note(count, findings)


def test_the_next_turn_finds_what_was_handed_out_each_time_it_looks(batch_id):
    with turn(batch_id) as journal:
        assert listed(journal.take_over()) == []
        assert note(journal, 1)
        assert note(journal, 4, PROCESSED, BAD)
    for _ in range(2):
        with turn(batch_id) as journal:
            assert listed(journal.take_over()) == [PROCESSED, BAD, INTERRUPTED, INTERRUPTED]


def test_a_turn_that_was_overtaken_hands_nothing_out_any_more(batch_id):
    with turn(batch_id) as early:
        assert listed(early.take_over()) == []
        assert note(early, 1)
    with turn(batch_id) as late:
        assert listed(late.take_over()) == [INTERRUPTED]
        # As a worker that was stopped, and goes on without its claim.
        assert not note(early, 2, PROCESSED)
        assert note(late, 3, INTERRUPTED, PROCESSED)
        assert early.take_over() is None
        assert note(late, 4, INTERRUPTED, PROCESSED, PROCESSED)


def test_a_turn_that_was_stopped_before_it_looked_gets_nothing(batch_id):
    with turn(batch_id) as early:
        pass
    with turn(batch_id) as late:
        assert listed(late.take_over()) == []
        assert early.take_over() is None
        assert note(late, 1)


def test_a_turn_of_an_earlier_round_gets_nothing_even_with_a_greater_number(batch_id):
    with turn(batch_id) as journal:
        assert listed(journal.take_over()) == []
        journal._claim = dataclasses.replace(journal._claim, rounds=journal._claim.rounds + 1)
        assert note(journal, 1)
    with turn(batch_id) as stale:
        assert stale.take_over() is None


def test_what_it_notes_survives_the_end_of_the_turns_transaction(batch_id):
    with turn(batch_id) as journal:
        journal.take_over()
        note(journal, 2, BAD)
        database.pool.rollback()
    with turn(batch_id) as journal:
        assert listed(journal.take_over()) == [BAD, INTERRUPTED]


def test_answers_are_kept(batch_id):
    told = Outcome("processed", None, {"Größe": 'a\n"b'})
    with turn(batch_id) as journal:
        journal.take_over()
        assert note(journal, 3, told, PROCESSED)
        database.pool.rollback()
    with turn(batch_id) as journal:
        assert listed(journal.take_over()) == [told, PROCESSED, INTERRUPTED]


def set_paused_at(batch_id, time):
    sql = f"UPDATE batch SET paused_at = {time} WHERE id = %(id)s RETURNING id"
    with beside.connection() as run:
        assert run(sql, {"id": batch_id}) == [(batch_id,)]


def test_what_is_noted_may_be_taken_back_though_the_batch_is_paused(batch_id):
    with turn(batch_id) as journal:
        journal.take_over()
        assert note(journal, 3)
        database.pool.rollback()
        set_paused_at(batch_id, "now()")
        assert not note(journal, 4, PROCESSED)
        assert note(journal, 2, PROCESSED)
        set_paused_at(batch_id, "NULL")
    with turn(batch_id) as journal:
        assert listed(journal.take_over()) == [PROCESSED, INTERRUPTED]


def test_of_notes_in_one_commit_each_turn_gets_its_own_answer(batch_id):
    other = store("other@x.de").batch_id
    with turn(batch_id) as early:
        assert listed(early.take_over()) == []
    with turn(batch_id) as late:
        assert listed(late.take_over()) == []
    with turn(other) as paused:
        assert listed(paused.take_over()) == []
    set_paused_at(other, "now()")
    entries = [journal._entry(1, Findings()) for journal in (paused, early, late)]
    assert _write(entries) == [False, False, True]
