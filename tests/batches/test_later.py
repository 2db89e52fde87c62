"""Emails that are to be processed later: they wait, are claimed again in time, and are counted."""

from datetime import UTC, datetime

import pytest

from batches import changes, commits, finishing, snapshots
from batches.changes import StateError
from harness.batches import CHECK, claim_next, lose_turn, start, store
from harness.books import assert_books_balance, emails, query, snapshot
from harness.polling import eventually, in_threads
from postgres.database import pool, session
from processors import Findings, failed, later

SOON = later("dns_timeout", 0.001)
HOUR = later("dns_timeout", 3600)


@pytest.fixture
def batch_id(database):
    number = store(*(f"{number}@x.de" for number in range(1, 11))).batch_id
    start(number)
    return number


def take_turn(batch_id, count=None, **outcomes):
    """Take a turn on the next chunk, over `count` emails; keywords i3=… give outcomes by id."""
    with session(), pool.atomic():
        claim = claim_next(batch_id)
        others = [(claim.ids.index(int(key[1:])), it) for key, it in outcomes.items()]
        found = Findings(len(claim.ids) if count is None else count, sorted(others))
        return claim, commits.commit_outcomes(claim, found)


def make_due(where="true"):
    with session():
        pool.execute_sql(
            f"UPDATE chunk SET due_at = '2020-01-01 00:00Z' WHERE due_at IS NOT NULL AND {where}"
        )
        pool.execute_sql("UPDATE batch SET next_at = '2020-01-01 00:00Z' WHERE waiting > 0")


def chunks():
    return query("SELECT first_id, last_id, done, reasons, rounds FROM chunk ORDER BY first_id")


def unfinished():
    with session():
        return snapshots.unfinished_batches(CHECK)


def test_they_stay_pending_and_the_others_are_counted(batch_id):
    _, after = take_turn(batch_id, i2=HOUR, i5=failed("odd"), i7=HOUR)
    assert (after.processed, after.failed, after.status) == (8, 1, "processing")
    assert (after.waiting, after.reasons) == (2, {"odd": 1})
    at = datetime.fromisoformat(after.next_at)
    assert 3500 < (at - datetime.now(UTC)).total_seconds() <= 3600
    assert [email for email, status, _ in emails(batch_id) if status == "pending"] == [
        "2@x.de",
        "7@x.de",
    ]
    assert chunks() == [(1, 10, 0, {"odd": 1}, 1)]
    assert snapshot(batch_id) == after
    assert_books_balance()


def test_nobody_claims_them_or_is_told_of_them_before_their_time(batch_id):
    take_turn(batch_id, i2=HOUR)
    with session():
        assert lose_turn(batch_id) is None
    assert unfinished() == []
    make_due()
    assert unfinished() == [batch_id]
    claim, after = take_turn(batch_id)
    assert (claim.ids, claim.addresses, claim.rounds, claim.waited) == ([2], ["2@x.de"], 1, True)
    assert 0 <= claim.put_off < 60
    assert (after.status, after.waiting, after.next_at) == ("completed", 0, None)
    assert_books_balance()


def test_the_longest_time_of_a_chunk_counts_and_the_shortest_of_a_batch(database):
    number = store(*(f"{n}@x.de" for n in range(4)), chunk_size=2).batch_id
    start(number)
    take_turn(number, i1=later("dns_timeout", 100), i2=later("dns_error", 5000))
    _, after = take_turn(number, i3=HOUR)
    ((first, second),) = query(
        "SELECT extract(epoch FROM min(due_at) - now())::int,"
        " extract(epoch FROM max(due_at) - now())::int FROM chunk"
    )
    assert (3500 < first <= 3600, 4900 < second <= 5000) == (True, True)
    assert query("SELECT next_at = (SELECT min(due_at) FROM chunk) FROM batch") == [(True,)]
    assert after.waiting == 3


def test_those_that_have_waited_come_first(database):
    number = store(*(f"{n}@x.de" for n in range(6)), chunk_size=2).batch_id
    start(number)
    take_turn(number, i1=HOUR)
    take_turn(number, i4=HOUR)
    make_due("first_id = 3")
    assert take_turn(number)[0].ids == [4]
    assert take_turn(number)[0].ids == range(5, 7)
    make_due()
    assert take_turn(number)[0].ids == [1]
    assert_books_balance()


def test_the_rest_of_a_chunk_does_not_wait_with_them(batch_id):
    take_turn(batch_id, 4, i2=failed("odd"), i3=HOUR)
    # Nobody else has anything to begin on, so it is shared, too.
    assert chunks() == [(1, 4, 0, {"odd": 1}, 1), (5, 8, 0, {}, 0), (9, 10, 0, {}, 0)]
    claim, after = take_turn(batch_id)
    assert claim.ids == [5, 6, 7, 8]
    assert (after.processed, after.waiting) == (7, 1)
    assert_books_balance()


def test_the_rest_of_a_chunk_stays_whole_while_there_are_others(database):
    number = store(*(f"{n}@x.de" for n in range(20)), chunk_size=10).batch_id
    start(number)
    take_turn(number, 4, i3=HOUR)
    assert chunks() == [(1, 4, 0, {}, 1), (5, 10, 0, {}, 0), (11, 20, 0, {}, 0)]
    assert_books_balance()


def test_the_rest_of_a_chunk_with_outcomes_keeps_its_reasons(batch_id):
    take_turn(batch_id, **{f"i{number}": failed("odd") for number in (1, 2, 5, 7, 9)})
    with session():
        changes.retry(batch_id, "odd", ["odd"], lambda: None)
    start(batch_id)
    take_turn(batch_id, 3, i1=failed("one"), i2=HOUR, i5=failed("odd"))
    assert chunks() == [(1, 5, 0, {"one": 1, "odd": 1}, 1), (6, 8, 1, {}, 0), (9, 10, 0, {}, 0)]
    take_turn(batch_id, 1, i7=failed("seven"))
    make_due()
    take_turn(batch_id)
    take_turn(batch_id, i9=HOUR)
    assert_books_balance()
    make_due()
    assert take_turn(batch_id)[1].reasons == {"one": 1, "odd": 1, "seven": 1}
    assert_books_balance()


def test_those_not_reached_in_their_round_keep_it(batch_id):
    take_turn(batch_id, **{f"i{number}": HOUR for number in range(1, 11)})
    make_due()
    claim, after = take_turn(batch_id, 4, i3=HOUR)
    assert (claim.rounds, after.waiting, after.processed) == (1, 7, 3)
    assert chunks() == [(1, 4, 0, {}, 2), (5, 8, 0, {}, 1), (9, 10, 0, {}, 1)]
    claim, after = take_turn(batch_id, 2)
    assert (claim.rounds, claim.ids[:2], after.waiting) == (1, [5, 6], 5)
    assert_books_balance()


def test_what_is_left_of_a_round_is_shared(batch_id):
    take_turn(batch_id, **{f"i{number}": HOUR for number in range(1, 11)})
    make_due()
    _, after = take_turn(batch_id, 2)
    assert chunks() == [(1, 2, 2, {}, 1), *((n, n + 1, 0, {}, 1) for n in (3, 5, 7, 9))]
    assert after.waiting == 8
    assert_books_balance()


def as_before(number):
    """Process an email as a worker of a version does that knows of no emails that wait."""
    with session(), pool.atomic():
        pool.execute_sql("UPDATE email SET status = 'processed' WHERE id = %s", (number,))
        pool.execute_sql("UPDATE chunk SET done = %s - first_id + 1", (number,))
        pool.execute_sql(
            "UPDATE batch SET processed_count = processed_count + 1, status = CASE WHEN"
            " processed_count + 1 = total_emails THEN 'completed' ELSE status END, completed_at ="
            " CASE WHEN processed_count + 1 = total_emails THEN now() END"
        )


def test_a_worker_of_the_version_before_may_process_some_that_wait(batch_id):
    take_turn(batch_id, i2=HOUR, i7=HOUR)
    as_before(2)
    make_due()
    claim, after = take_turn(batch_id)
    assert (claim.ids, after.status, after.waiting, after.next_at) == ([7], "completed", 0, None)
    assert_books_balance()


def test_a_retry_forgets_what_such_a_worker_left(batch_id):
    take_turn(batch_id, i2=failed("odd"), i10=HOUR)
    as_before(10)
    with session():
        _, after = changes.retry(batch_id, "odd", ["odd"], lambda: None)
    assert (after.status, after.waiting, after.next_at) == ("pending", 0, None)
    start(batch_id)
    assert take_turn(batch_id)[1].status == "completed"
    assert_books_balance()


def test_cancelled_batches_wait_for_nothing(batch_id):
    take_turn(batch_id, i2=HOUR)
    with session():
        after = changes.cancel(batch_id)
    assert (after.status, after.waiting, after.next_at) == ("cancelled", 0, None)
    assert_books_balance()


def test_a_retry_begins_with_the_first_round(batch_id):
    take_turn(batch_id, i2=SOON)
    eventually(unfinished)
    take_turn(batch_id, i2=failed("odd"))
    with session():
        changes.retry(batch_id, "odd", ["odd"], lambda: None)
    start(batch_id)
    claim, _ = take_turn(batch_id)
    assert (claim.ids, claim.rounds, claim.put_off, claim.waited) == ([2], 0, None, False)
    assert_books_balance()


def test_turns_at_once_agree_on_what_waits(database):
    number = store(*(f"{n}@x.de" for n in range(320)), chunk_size=20).batch_id
    start(number)

    def turn():
        with pool.atomic():
            claim = claim_next(number)
            if claim is not None:  # the others may hold all that are left
                wait = later("dns_timeout", 100 + claim.first_id)
                commits.commit_outcomes(claim, Findings(10, [(1, wait), (3, wait)]))
        return claim

    def turns():
        for _ in range(8):
            eventually(turn)

    in_threads(turns, turns, turns, turns)
    assert query("SELECT waiting, next_at = (SELECT min(due_at) FROM chunk) FROM batch") == [
        (64, True)
    ]
    assert_books_balance()


def finish(batch_id, by=None):
    told = []
    with session(60):
        return finishing.finish(batch_id, told.append, by), told


def test_whoever_does_not_want_to_wait_makes_them_unknown(database):
    number = store(*(f"{n}@x.de" for n in range(1, 7)), chunk_size=3).batch_id
    start(number)
    take_turn(number, i1=later("dns_error", 60), i2=failed("odd"))
    assert snapshot(number).waiting == 1
    take_turn(number, 2, i4=HOUR, i5=HOUR)
    with session():
        changes.pause(number)  # which says nothing about those that wait
    (count, after), told = finish(number, "anna")
    assert (count, after.waiting, after.next_at, after.status) == (3, 0, None, "processing")
    assert [each.processed for each in told] == [3, 5]
    assert after.reasons == {"dns_error": 1, "odd": 1, "dns_timeout": 2}
    assert [(status, reason) for _, status, reason in emails(number)] == [
        ("processed", "dns_error"),
        ("failed", "odd"),
        ("processed", None),
        *[("processed", "dns_timeout")] * 2,
        ("pending", None),
    ]
    assert_books_balance()
    assert query("SELECT kind, user_name FROM action ORDER BY id")[1:] == [("finished", "anna")]
    assert finish(number)[0] == (0, snapshot(number))
    with session():
        changes.resume(number)
    assert take_turn(number)[1].status == "completed"
    assert_books_balance()


def test_the_last_that_wait_complete_the_batch_once_whoever_finishes_it(batch_id):
    take_turn(batch_id, **{f"i{number}": HOUR for number in range(1, 11)})

    def one():
        try:
            return finishing.finish(batch_id, lambda snapshot: None)[0]
        except StateError:
            return 0  # another was so fast that the batch was completed before this one began

    assert sorted(in_threads(one, one, one)) == [0, 0, 10]
    assert snapshot(batch_id).status == "completed"
    assert_books_balance()
    with pytest.raises(StateError, match="is completed, so that no email of it waits"):
        finish(batch_id)
    assert finish(batch_id + 1)[0] is None


def test_those_that_are_processed_again_at_this_moment_are_left_to_that(batch_id):
    take_turn(batch_id, i2=HOUR)
    make_due()
    with session(), pool.atomic():
        claim = claim_next(batch_id)
        ((count, _),) = in_threads(lambda: finishing.finish(batch_id, lambda snapshot: None))
        after = commits.commit_outcomes(claim, Findings(1, [(0, failed("odd"))]))
    assert (count, after.status, after.reasons) == (0, "completed", {"odd": 1})
    assert_books_balance()


def test_an_email_that_waited_forgets_why(batch_id):
    take_turn(batch_id, i2=HOUR)
    make_due()
    take_turn(batch_id, i2=failed("odd"))
    assert emails(batch_id)[1] == ("2@x.de", "failed", "odd")
    with session():
        changes.retry(batch_id, "failed", [], lambda: None)
    start(batch_id)
    assert finish(batch_id)[0][0] == 0


def test_a_batch_that_is_cancelled_while_it_is_finished_stays_cancelled(database):
    number = store(*(f"{n}@x.de" for n in range(4)), chunk_size=2).batch_id
    start(number)
    take_turn(number, i1=HOUR, i2=HOUR)
    take_turn(number, i3=HOUR, i4=HOUR)
    with session(60):
        count, after = finishing.finish(
            number, lambda _: in_threads(lambda: changes.cancel(number))
        )
    assert (count, after.status, after.processed) == (2, "cancelled", 2)
    assert after == snapshot(number)
    assert_books_balance()
