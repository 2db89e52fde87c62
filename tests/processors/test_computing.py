"""One thread at a time computes, and the others go on while it waits or hangs."""

import threading
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import pytest

from processors import computing as module
from processors import process_lines, waiting
from processors.computing import computing

# Seconds within which threads that may meet do so, and for which others are watched.
MEET, WATCHED = 60.0, 0.3


@pytest.fixture(autouse=True)
def patient(monkeypatch):
    monkeypatch.setattr(module, "MOST_WAIT", 120.0)


def in_two_threads(work):
    """Return the results of two calls in threads of their own."""
    with ThreadPoolExecutor(2) as executor:
        return [call.result() for call in [executor.submit(work) for _ in range(2)]]


class Meeting:
    """A place where two threads may meet."""

    def __init__(self):
        self._barrier = threading.Barrier(2)

    def is_met(self, seconds):
        """Wait for the other thread, and return whether it came."""
        try:
            self._barrier.wait(seconds)
        except threading.BrokenBarrierError:
            self._barrier.reset()
            return False
        return True


def test_of_lines_is_called_by_one_thread_at_a_time():
    meeting = Meeting()
    met = []

    def of_lines(lines):
        met.append(meeting.is_met(WATCHED))
        return {}

    processor = SimpleNamespace(of_lines=of_lines, at_once=1)
    found = in_two_threads(lambda: process_lines(processor, "a\nb\nc", float("inf"), print))
    assert [each.count for each in found] == [3, 3]
    assert met == [False] * 6


def test_others_compute_while_a_thread_waits():
    meeting = Meeting()

    def wait():
        with computing(), waiting():
            return meeting.is_met(MEET)

    assert in_two_threads(wait) == [True, True]


def test_a_thread_that_has_waited_computes_alone_again():
    inside, after = Meeting(), Meeting()

    def wait():
        with computing():
            with waiting():
                inside.is_met(MEET)
            return after.is_met(WATCHED)

    assert in_two_threads(wait) == [False, False]


def test_waiting_outside_changes_nothing():
    with waiting():
        with computing():
            assert module._lock.locked()
        assert not module._lock.locked()
    assert not module._lock.locked()


def test_an_error_lets_the_next_thread_compute():
    for _ in range(2):
        with pytest.raises(ZeroDivisionError), computing(), waiting():
            raise ZeroDivisionError
        assert not module._lock.locked()


def test_a_thread_that_hangs_keeps_nobody(monkeypatch):
    monkeypatch.setattr(module, "MOST_WAIT", 0.01)
    meeting = Meeting()

    def hang():
        with computing():
            return meeting.is_met(MEET)

    assert in_two_threads(hang) == [True, True]
    assert not module._lock.locked()
