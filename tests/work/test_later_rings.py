"""Batches that wait because of a rate: which are rung for when, and by whom."""

import itertools

import pytest

from batches.allowances import Wait
from harness.polling import in_threads
from work.later_rings import LEAST_SECONDS, LaterRings


class Clock:
    now = 1000.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


def test_each_is_taken_once_when_its_time_has_come(clock):
    rings = LaterRings(clock)
    rings.put("crm", 1, Wait(5, everyone=False))
    rings.put("crm", 2, Wait(0, everyone=False))
    rings.put("crm", 1, Wait(2, everyone=False))
    assert rings.take() == []
    clock.now += LEAST_SECONDS
    assert (1 in rings, rings.take(), rings.take(), 2 in rings) == (True, [("crm", 2)], [], False)
    clock.now += 2
    assert rings.take() == [("crm", 1)]
    assert not rings.everyone_waits("crm")


def test_all_batches_wait_for_the_rate_of_the_processor(clock):
    rings = LaterRings(clock)
    assert not rings.join("crm", 1)
    rings.put("crm", 1, Wait(3, everyone=True))
    assert rings.join("crm", 2)
    assert rings.join("crm", 1)
    assert rings.everyone_waits("crm")
    assert not rings.everyone_waits("check")
    assert not rings.join("check", 3)
    clock.now += 3
    assert (sorted(rings.take()), rings.join("crm", 1)) == (
        [("crm", 1), ("crm", 2)],
        False,
    )


def test_a_thread_waits_for_the_first_that_is_due(database):
    rings = LaterRings()
    assert rings.take_one(0) is None
    rings.put("crm", 1, Wait(60, everyone=False))
    assert rings.take_one(0.01) is None

    def put():
        rings.put("crm", 2, Wait(0, everyone=False))

    # The one that comes later is due before, and wakes the thread.
    assert in_threads(lambda: rings.take_one(30), put)[0] == ("crm", 2)
    rings.put("crm", 3, Wait(0, everyone=False))
    rings.put("crm", 4, Wait(0, everyone=False))
    took = in_threads(*[lambda: [*iter(lambda: rings.take_one(0.3), None)]] * 4)
    assert sorted(itertools.chain(*took)) == [("crm", 3), ("crm", 4)]
