"""One thread at a time computes, and the others go on while it waits or hangs."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import pytest

from harness.polling import eventually
from processors import computing as module
from processors import process_lines, waiting
from processors.computing import computing

# The most seconds until two threads that can meet have met; how long we look whether others meet.
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
                assert inside.is_met(MEET)
            return after.is_met(WATCHED)

    assert in_two_threads(wait) == [False, False]


def test_waiting_outside_changes_nothing():
    with waiting(), computing():
        assert module._lock.locked()
    assert not module._lock.locked()


def test_a_block_inside_another_is_part_of_it():
    with computing():
        with computing(), waiting(), waiting():
            assert not module._lock.locked()
        assert module._lock.locked()
    assert not module._lock.locked()


def test_a_wait_that_is_broken_off_later_changes_nothing():
    def wait():
        with waiting():
            yield

    with computing():
        left = wait()
        next(left)
    left.close()
    assert not module._lock.locked()


def test_an_error_lets_the_next_thread_compute():
    for _ in range(2):
        with pytest.raises(ZeroDivisionError), computing(), waiting():
            raise ZeroDivisionError
        assert not module._lock.locked()


def test_a_thread_that_hangs_stops_nobody(monkeypatch):
    end = threading.Event()

    def hang():
        with computing():
            end.wait(MEET)

    thread = threading.Thread(target=hang)
    thread.start()
    eventually(module._lock.locked)
    with monkeypatch.context() as patch:
        patch.setattr(module, "MOST_WAIT", 0.01)
        with computing():  # beside it
            pass
    with computing():  # as if it weren't there
        assert thread.is_alive()
        end.set()
        thread.join()
        assert module._lock.locked()
    assert not module._lock.locked()


def test_a_turn_is_not_shorter_because_it_waited_for_another():
    began, never = threading.Event(), threading.Event()

    def hold():
        with computing():
            began.set()
            never.wait(1.5)

    thread = threading.Thread(target=hold)
    thread.start()
    began.wait(MEET)
    processor = SimpleNamespace(of_lines=lambda lines: {}, at_once=1)
    deadline = time.monotonic() + 1.0
    assert process_lines(processor, "a\nb\nc", deadline, print).count == 3
    thread.join()
