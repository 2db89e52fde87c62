"""A few threads at a time, in the order in which they came."""

import threading
from contextlib import ExitStack

import pytest

from harness.polling import eventually
from runtime import in_order
from runtime.in_order import InOrder, LineFullError


class Thread(threading.Thread):
    """Has a turn until it is let go."""

    def __init__(self, line, go_on=lambda: None):
        super().__init__(daemon=True)
        self.line, self.go_on = line, go_on
        self.has_turn, self.may_end = threading.Event(), threading.Event()
        self.start()

    def run(self):
        with self.line.turn(self.go_on):
            self.has_turn.set()
            assert self.may_end.wait(60)


def in_line(line, number):
    threads = []
    for _ in range(number):
        before = len(line._line)
        threads.append(Thread(line))
        eventually(lambda before=before: len(line._line) > before)
    return threads


def test_who_came_first_is_let_in_first():
    line = InOrder(2, 3)
    threads = in_line(line, 5)
    with ExitStack() as stack:
        for thread in threads:
            stack.callback(thread.may_end.set)
        assert threads[0].has_turn.wait(20)
        assert threads[1].has_turn.wait(20)
        with pytest.raises(LineFullError), line.turn(lambda: None):
            raise AssertionError
        for ended, following in ((1, 2), (2, 3), (0, 4)):
            assert not any(thread.has_turn.is_set() for thread in threads[following:])
            threads[ended].may_end.set()
            assert threads[following].has_turn.wait(20)
    eventually(lambda: not line._line)


def test_who_waits_may_leave(monkeypatch):
    monkeypatch.setattr(in_order, "LOOK_SECONDS", 0.01)
    line = InOrder(1, 1)
    (first,) = in_line(line, 1)
    assert first.has_turn.wait(20)
    asked = []

    def go_on():
        asked.append(1)
        if len(asked) == 3:
            raise BrokenPipeError

    with pytest.raises(BrokenPipeError), line.turn(go_on):
        raise AssertionError
    assert len(line._line) == 1
    first.may_end.set()
    with line.turn(go_on):
        assert len(asked) == 3
