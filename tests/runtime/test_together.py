"""Calls for the requests of several threads at once."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from harness.polling import eventually
from runtime.together import Together


class Caller:
    """Keeps the values of each call; the call of "first" lasts until `may_end` is set."""

    def __init__(self):
        self.calls = []
        self.may_end = threading.Event()
        self.together = Together(self._call)

    def _call(self, values):
        self.calls.append(values)
        if values == ["first"]:
            self.may_end.wait(60)
        return [1 / each if isinstance(each, int) else each for each in values]


def ask_meanwhile(values):
    """Ask for "first", and for the values while that lasts; return the caller and all futures."""
    caller = Caller()
    with ThreadPoolExecutor(10) as threads:
        futures = [threads.submit(caller.together.ask, "first")]
        eventually(lambda: caller.calls)
        for number, value in enumerate(values, start=1):
            futures.append(threads.submit(caller.together.ask, value))
            eventually(lambda number=number: len(caller.together._waiting) == number)
        caller.may_end.set()
    return caller, futures


def test_what_is_asked_during_a_call_shares_the_next_one():
    caller, futures = ask_meanwhile([2, 4, 8])
    assert caller.calls == [["first"], [2, 4, 8]]
    assert [each.result(60) for each in futures] == ["first", 0.5, 0.25, 0.125]
    assert caller.together.ask(5) == 0.2


def test_an_error_reaches_all_that_shared_the_call_and_no_others():
    caller, futures = ask_meanwhile([2, 0, 8])
    assert futures[0].result(60) == "first"
    for each in futures[1:]:
        with pytest.raises(ZeroDivisionError):
            each.result(60)
    assert caller.together.ask(5) == 0.2


def test_many_threads_get_their_own_answers():
    together = Together(lambda values: [2 * each for each in values])
    with ThreadPoolExecutor(16) as threads:
        assert [*threads.map(together.ask, range(2000))] == [*range(0, 4000, 2)]
