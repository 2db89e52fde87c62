import threading
from dataclasses import replace

import pytest

from models import Snapshot
from relay import rates
from relay.rates import Rates


class Clock:
    """The seconds that a test says."""

    now = 1000.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def known(clock):
    return Rates(clock)


def at(processed, revision=None, status="processing", batch_id=1, total=1000):
    return Snapshot(batch_id, revision or processed + 2, status, processed, 0, total)


def run(known, clock, seconds, rate, step=1.0, processed=0):
    """Let snapshots come for so long, at this rate, one each step; how many are processed then."""
    for _ in range(round(seconds / step)):
        clock.now += step
        processed += round(rate * step)
        known.note(at(processed))
    return processed


@pytest.mark.parametrize("step", [0.05, 0.3, 1.0, 3.0, 10.0])
def test_it_is_right_however_often_snapshots_come(known, clock, step):
    known.note(at(0))
    processed = run(known, clock, 30, 20, step)
    assert known.rate(1) == pytest.approx(20)
    # Between two snapshots it stays as it is.
    clock.now += step * 0.9
    assert known.rate(1) == pytest.approx(20)
    clock.now += step * 0.1
    known.note(at(processed + round(20 * step)))
    assert known.rate(1) == pytest.approx(20)


def test_it_follows_a_change_within_its_window(known, clock):
    known.note(at(0))
    processed = run(known, clock, 60, 100)
    run(known, clock, rates.WINDOW_SECONDS, 10, processed=processed)
    assert known.rate(1) == pytest.approx(10)


def test_it_falls_to_nothing_when_no_snapshot_comes(known, clock):
    known.note(at(0))
    processed = run(known, clock, 10, 50)
    seen = []
    for _ in range(10):
        clock.now += 1
        seen.append(known.rate(1))
    assert seen == sorted(seen, reverse=True)
    assert seen[0] == pytest.approx(50)
    assert 0 < seen[3] < 50
    assert seen[-1] == 0
    assert known.pace(at(processed)) == {"rate": 0.0, "secondsLeft": None}
    # And it comes back.
    run(known, clock, rates.WINDOW_SECONDS + 1, 50, processed=processed)
    assert known.rate(1) == pytest.approx(50)


def test_too_little_is_known_at_first(known, clock):
    assert known.rate(1) is None
    known.note(at(0))
    assert known.rate(1) is None
    clock.now += 0.001  # two threads, at the same moment
    known.note(at(100))
    assert known.rate(1) is None
    assert known.history(1) is None
    clock.now += 1
    known.note(at(200))
    assert known.rate(1) == pytest.approx(200, rel=0.01)


def test_it_begins_anew_when_the_count_goes_down(known, clock):
    known.note(at(0))
    run(known, clock, 10, 50)
    known.note(at(300, revision=900))
    assert known.rate(1) is None
    clock.now += 1
    known.note(at(310, revision=901))
    assert known.rate(1) == pytest.approx(10)


@pytest.mark.parametrize("status", ["pending", "deleted"])
def test_what_is_requeued_or_deleted_is_forgotten(known, clock, status):
    known.note(at(0))
    run(known, clock, 10, 50)
    known.note(at(500, revision=900, status=status))
    assert (known.rate(1), known.history(1)) == (None, None)


def test_old_snapshots_and_those_read_again_change_nothing(known, clock):
    known.note(at(0))
    run(known, clock, 10, 50)
    before = known.rate(1), known.history(1)
    known.note(at(500))
    known.note(at(100, revision=3))
    known.note(at(0, revision=1, status="pending"))
    assert (known.rate(1), known.history(1)) == before


def test_how_long_it_takes_is_told_of_the_emails_that_do_not_wait(known, clock):
    known.note(at(0))
    processed = run(known, clock, 9, 60)
    some = replace(at(processed), waiting=220)
    assert known.pace(some) == {"rate": 60.0, "secondsLeft": 4}
    assert known.pace(replace(some, waiting=460)) == {"rate": 60.0, "secondsLeft": None}


def test_only_a_batch_that_is_processed_has_a_pace(known, clock):
    known.note(at(0))
    processed = run(known, clock, 9, 60)
    assert known.pace(at(processed)) == {"rate": 60.0, "secondsLeft": 8}
    for status in ("pending", "completed", "cancelled", "deleted"):
        assert known.pace(at(processed, status=status)) == {"rate": None, "secondsLeft": None}
    assert known.pace(at(0, batch_id=2)) == {"rate": None, "secondsLeft": None}


def test_a_chart_has_a_point_a_second_and_stays_when_the_batch_has_ended(known, clock):
    known.note(at(0))
    processed = run(known, clock, 3, 100, step=0.5)
    processed = run(known, clock, 2, 20, step=0.5, processed=processed)
    chart = {"interval": 1.0, "points": [100.0, 100.0, 100.0, 20.0, 20.0]}
    assert known.history(1) == chart
    clock.now += 0.75
    known.note(at(processed + 30, revision=990, status="completed"))
    chart["points"].append(40.0)
    clock.now += 100
    assert known.history(1) == chart


def test_a_standstill_shows_in_the_chart(known, clock):
    known.note(at(0))
    run(known, clock, 3, 100)
    clock.now += 10
    assert known.history(1)["points"] == [100.0] * 3 + [0.0] * 10


@pytest.mark.parametrize("step", [0.2, 1.0, 7.0])
def test_a_long_chart_has_longer_intervals(known, clock, step):
    known.note(at(0))
    for seconds in (50, 500, 5000):
        begun = clock.now
        run(known, clock, seconds, 10, step, processed=known._tracks[1].processed)
        chart = known.history(1)
        assert 15 <= len(chart["points"]) <= rates.MAX_POINTS
        assert sum(chart["points"]) * chart["interval"] == pytest.approx(
            known._tracks[1].processed, rel=0.1
        )
        assert all(9.8 <= point <= 10.2 for point in chart["points"])
        assert clock.now - begun <= chart["interval"] * (len(chart["points"]) + 1) + step


def test_a_gap_of_days_is_one_too(known, clock):
    known.note(at(0))
    clock.now += 300_000
    known.note(at(600))
    chart = known.history(1)
    assert len(chart["points"]) <= rates.MAX_POINTS
    assert sum(chart["points"]) == 0.0  # 0.002 a second


def test_only_the_batches_that_changed_last_are_remembered(known, clock):
    for batch_id in range(1, rates.MAX_BATCHES + 1):
        known.note(at(0, batch_id=batch_id))
    clock.now += 1
    known.note(at(9, batch_id=1))
    known.note(at(0, batch_id=1000))
    assert len(known._tracks) == rates.MAX_BATCHES
    assert known.rate(1) == pytest.approx(9)
    assert 2 not in known._tracks


def test_a_batch_that_had_ended_before_takes_no_room(known):
    known.note(at(1000, status="completed"))
    assert not known._tracks


def test_many_threads_may_note_and_ask(known, clock):
    def work(batch_id):
        for processed in range(300):
            clock.now += 0.01
            known.note(at(processed, batch_id=batch_id))
            known.pace(at(processed, batch_id=batch_id))
            known.history(batch_id)

    threads = [threading.Thread(target=work, args=(number % 3 + 1,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(known.rate(batch_id) is None or known.rate(batch_id) >= 0 for batch_id in (1, 2, 3))
