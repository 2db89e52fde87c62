"""Few threads go on at a time, except for those that last."""

import threading

import pytest

from harness.polling import eventually
from runtime import few_at_once
from runtime.few_at_once import FewAtOnce


@pytest.fixture
def few():
    few = FewAtOnce("few")
    yield few
    few.stop()


@pytest.fixture
def patient(monkeypatch):
    """Nothing lasts, in what is made after this."""
    monkeypatch.setattr(few_at_once, "LASTING", 1000.0)


def test_the_next_goes_on_when_one_is_done_in_the_order_in_which_they_came(patient, few):
    gone_on = []
    for name in "abcde":
        few.add(lambda name=name: gone_on.append(name) or name)
    assert gone_on == ["a", "b"]
    few.done("b")
    assert gone_on == ["a", "b", "c"]
    few.done("a")
    few.done("c")
    assert gone_on == ["a", "b", "c", "d", "e"]


def test_one_that_cannot_go_on_yet_keeps_its_place(patient, few):
    gone_on, ready = [], threading.Event()
    few.add(lambda: gone_on.append("a") or "a" if ready.is_set() else None)
    few.add(lambda: gone_on.append("b") or "b")
    few.done("another")
    assert gone_on == []
    ready.set()
    few.done("another")
    assert gone_on == ["a", "b"]


def test_those_that_last_keep_nobody_from_going_on(few):
    gone_on = []
    for number in range(500):
        few.add(lambda number=number: gone_on.append(number) or f"thread {number}")
    eventually(lambda: len(gone_on) == 500)
    assert gone_on == [*range(500)]


def test_after_those_that_last_few_go_on_at_a_time_again(monkeypatch, few):
    gone_on = []
    for number in range(20):
        few.add(lambda number=number: gone_on.append(number) or f"thread {number}")
    eventually(lambda: len(gone_on) == 20 and not few._must_look.is_set())
    for number in range(20):
        few.done(f"thread {number}")
    monkeypatch.setattr(few_at_once, "LASTING", 1000.0)
    for number in range(20, 30):
        few.add(lambda number=number: gone_on.append(number) or f"thread {number}")
    assert gone_on == [*range(22)]


def test_after_the_stop_no_further_one_goes_on(patient, few):
    gone_on = []
    for name in "abc":
        few.add(lambda name=name: gone_on.append(name) or name)
    few.stop()
    few.done("a")
    assert gone_on == ["a", "b"]
