import pytest

from runtime import every
from runtime.every import Every


@pytest.fixture
def clock(monkeypatch):
    """The seconds that a test says."""
    seconds = [1000.0]
    monkeypatch.setattr(every.time, "monotonic", lambda: seconds[0])
    return seconds


def test_it_is_due_at_once_and_then_when_its_seconds_are_over(clock):
    timer = Every(5.0)
    assert (timer.left, timer.due(), timer.left, timer.due()) == (0.0, True, 5.0, False)
    clock[0] += 4.0
    assert (timer.left, timer.due()) == (1.0, False)
    clock[0] += 1.0
    assert (timer.left, timer.due(), timer.due()) == (0.0, True, False)


def test_its_seconds_can_begin_anew_or_be_cut_short(clock):
    timer = Every(5.0)
    timer.restart()
    assert not timer.due()
    clock[0] += 4.0
    timer.restart()
    assert timer.left == 5.0
    timer.hasten()
    assert timer.due()
