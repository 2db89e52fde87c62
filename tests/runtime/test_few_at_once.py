"""Few threads go on at a time, except for those that last."""

import threading
import time

import pytest

from harness.polling import eventually
from runtime import few_at_once
from runtime.few_at_once import NOBODY, FewAtOnce


@pytest.fixture
def woken(few):
    """A list, and a function that adds a thread's name to the list when it is woken."""
    names = []

    def add(*added):
        for name in added:
            few.add(lambda name=name: names.append(name) or name)

    return names, add


def test_the_next_is_woken_when_one_is_done_in_the_order_in_which_they_came(patient, few, woken):
    names, add = woken
    add(*"abcde")
    assert names == ["a", "b"]
    few.done("b")
    assert names == ["a", "b", "c"]
    few.done("a")
    few.done("c")
    assert names == ["a", "b", "c", "d", "e"]


def test_one_that_cannot_be_woken_yet_keeps_its_place(patient, few, woken):
    names, add = woken
    ready = threading.Event()
    few.add(lambda: names.append("a") or "a" if ready.is_set() else None)
    add("b")
    few.done("another")
    assert names == []
    ready.set()
    few.done("another")
    assert names == ["a", "b"]


def test_one_that_waits_no_longer_takes_no_place(patient, few, woken):
    names, add = woken
    for _ in range(3):
        few.add(lambda: NOBODY)
    add(*"abc")
    assert names == ["a", "b"]


def test_threads_that_last_stop_counting(woken):
    names, add = woken
    add(*range(500))
    eventually(lambda: len(names) == 500)
    assert names == [*range(500)]


def test_one_that_has_lasted_gives_way_when_another_comes(few, woken):
    """add() itself sees it; the thread that looks isn't needed."""
    names, add = woken
    add("a", "b")
    eventually(lambda: time.monotonic() > few._woken["b"] + few_at_once.LASTING)
    add("c")
    assert names == ["a", "b", "c"]


def test_after_those_that_last_few_are_woken_at_a_time_again(monkeypatch, few, woken):
    names, add = woken
    add(*range(20))
    eventually(lambda: len(names) == 20)
    monkeypatch.setattr(few_at_once, "LASTING", 1000.0)
    for number in range(20):
        few.done(number)
    add(*range(20, 30))
    assert names == [*range(22)]


def test_after_the_stop_nobody_is_woken(patient, few, woken):
    names, add = woken
    add(*"abc")
    few.stop()
    few.done("a")
    few.done("b")
    add("d")
    assert names == ["a", "b"]


@pytest.mark.parametrize("added", ["abc", ""], ids=["looking", "waiting"])
def test_the_stop_ends_the_thread_that_looks(added):
    few = FewAtOnce("a name of its own")
    for name in added:  # with three, one more than go on at a time
        few.add(lambda name=name: name)
    few.stop()
    eventually(lambda: all(each.name != "a name of its own" for each in threading.enumerate()))
