"""How a nameserver's window and rate follow what comes of its queries."""

from collections import deque
from math import inf

import pytest

from processors.domains import pace as pace_module
from processors.domains.exchange import NEW
from processors.domains.pace import FIRST_RATE, FIRST_WINDOW, LEAST_WINDOW, Pace

STEP = 0.11  # seconds; a little more than the time between two changes


@pytest.fixture
def clock():
    """A clock that each call sets forward by STEP."""
    seconds = [1000.0]

    def tick():
        seconds[0] += STEP
        return seconds[0]

    return tick


def step(pace, now, *, answered=0, late=0, again_late=0, lost=0, known_is_lost=True):
    """Fill the window, let so many queries come to these ends, and let the pace adapt.

    Silence is lost if what is known is lost, too.
    """
    while pace.room(now) > 0:
        pace.sent()
    for _ in range(answered):
        pace.answered(0.01, first=True)
    for _ in range(late):
        pace.late(first=True)
    for _ in range(again_late):
        pace.late(first=False)
    for _ in range(lost):
        pace.lost(now)
    pace.flying = 0
    pace.adapt(now)
    if pace.meets_silence:
        pace.judge_silence(lost=known_is_lost)


def test_the_window_grows_while_answers_come_up_to_the_most(clock):
    pace = Pace(1000)
    assert pace.window == FIRST_WINDOW
    windows = []
    for _ in range(20):
        step(pace, clock(), answered=100)
        windows.append(pace.window)
    assert windows == sorted(windows)
    assert windows[-1] == 1000
    assert pace.rate == inf


def test_a_window_that_is_not_full_stays(clock):
    pace = Pace(1000)
    for _ in range(20):
        pace.room(clock())
        pace.answered(0.01, first=True)
        pace.adapt(clock())
    assert pace.window == FIRST_WINDOW


def test_a_few_losses_change_nothing(clock):
    pace = Pace(1000)
    for _ in range(20):
        step(pace, clock(), answered=100, late=2, lost=2)
    assert pace.window == 1000
    assert pace.rate == inf


@pytest.mark.parametrize("bad", [{"answered": 20, "lost": 60}, {"answered": 5, "late": 200}])
def test_many_losses_make_the_window_small_and_limit_the_rate_to_a_part_of_the_answers(clock, bad):
    pace = Pace(1000)
    for _ in range(30):
        step(pace, clock(), answered=100)
    for _ in range(3):
        step(pace, clock(), **bad)
    assert pace.window < 1000
    assert 0.25 * 60 / STEP < pace.rate < 0.25 * 105 / STEP
    for _ in range(200):
        step(pace, clock(), late=50)
    assert pace.window == LEAST_WINDOW
    assert pace.rate == pace_module.LEAST_RATE


def test_the_window_never_exceeds_the_most_however_small_that_is(clock):
    pace = Pace(1)
    for _ in range(30):
        step(pace, clock(), answered=1, lost=5)
        assert pace.window == 1


def test_queries_sent_before_the_rate_shrank_have_no_weight_any_more(clock):
    pace = Pace(1000)
    for _ in range(30):
        step(pace, clock(), answered=100)
    before = clock()
    for _ in range(3):
        step(pace, clock(), answered=20, lost=60)
    rate = pace.rate
    assert rate < inf
    for _ in range(30):
        for _ in range(60):
            pace.lost(before)
        step(pace, clock(), answered=20)
    assert pace.rate > rate


def test_questions_that_nobody_can_answer_slow_nothing_down(clock):
    pace = Pace(1000)
    for _ in range(50):
        step(pace, clock(), answered=20, late=5, again_late=200)
    assert pace.rate == inf
    assert pace.window == 1000


def test_silence_slows_nothing_down_while_what_is_known_is_answered(clock):
    pace = Pace(1000)
    for _ in range(30):
        step(pace, clock(), answered=100)
    for _ in range(100):
        step(pace, clock(), late=50, known_is_lost=False)
        assert not pace.loses(clock())
    assert (pace.rate, pace.window) == (inf, 1000)


def test_the_rate_grows_fast_to_what_was_safe_and_stays_there_for_a_while(clock):
    pace = Pace(1000)
    for _ in range(30):
        step(pace, clock(), answered=20)
    for _ in range(3):
        step(pace, clock(), answered=20, lost=30)
    safe = pace.rate / pace_module.AT_FIRST_LOSSES * pace_module.SAFE
    assert safe == pytest.approx(0.9 * 20 / STEP, rel=0.1)
    for _ in range(20):
        step(pace, clock(), answered=20)
    assert pace.rate == pytest.approx(safe)
    for _ in range(10):
        step(pace, clock(), answered=20)
    assert pace.rate == pytest.approx(safe)
    for _ in range(60):
        step(pace, clock(), answered=20)
    assert 1.05 * safe < pace.rate < 2 * safe
    for _ in range(600):
        step(pace, clock(), answered=20)
    assert pace.rate == inf


def test_a_nameserver_that_has_not_answered_yet_has_no_rate(clock):
    pace = Pace(1000)
    for _ in range(50):
        step(pace, clock(), late=64)
    assert (pace.rate, pace.window) == (FIRST_RATE, LEAST_WINDOW)
    step(pace, clock(), answered=8)
    for _ in range(30):
        step(pace, clock(), answered=100)
    assert pace.window == 1000


def test_no_more_may_be_sent_than_the_rate_allows():
    pace = Pace(1000)
    pace.rate = 100.0
    sent, now = 0, 0.0
    while now < 10:
        while pace.room(now) > 0:
            pace.sent()
            pace.answered(0.001, first=True)
            pace.flying -= 1
            sent += 1
        now += 0.001
    assert sent == pytest.approx(1000, rel=0.02)


def test_patience_follows_the_time_that_answers_take(clock):
    pace = Pace(1000)
    for _ in range(200):
        pace.answered(0.2, first=True)
        pace.adapt(clock())
    assert 0.2 < pace.patience < 0.5
    for _ in range(500):
        pace.answered(5.0, first=True)
        pace.adapt(clock())
    assert pace.patience == pace_module.LATEST


def test_the_rate_grows_on_after_hours_without_losses(clock):
    pace = Pace(1000)
    for _ in range(30):
        step(pace, clock(), answered=100)
    for _ in range(3):
        step(pace, clock(), answered=20, lost=60)
    for _ in range(300):
        step(pace, clock(), answered=100)
    before = pace.rate
    for hours in range(1, 4):
        now = clock() + 3600 * hours
        step(pace, now, answered=100)
    assert before < pace.rate < inf


class Limited:
    """A nameserver that answers so many queries a second, counted as nsd does."""

    def __init__(self, limit):
        self._limit = 2 * limit
        self._second = self._number = self._before = 0

    def answers(self, now):
        """Take a query, and return whether it is answered."""
        while self._second < int(now):
            self._before = self._before // 2 + self._number
            self._second, self._number = self._second + 1, 0
        self._number += 1
        return max(self._before, self._number + self._before // 2) < self._limit


@pytest.mark.parametrize("limit", [50, 200])
def test_a_limit_of_answers_a_second_is_found_and_used_but_for_a_little(limit):
    pace, nameserver = Pace(1_000), Limited(limit)
    # Questions without an answer: the times at which each was sent. Those that were sent not long
    # ago, and those that are to be asked again: a fourth of what is sent are others, as always.
    fresh, late = deque(), deque()
    answered, sent = [], 0
    for thousandths in range(60_000):
        now = thousandths / 1000
        while fresh and now - fresh[0][-1] >= pace.patience:
            times = fresh.popleft()
            pace.late(first=len(times) == 1)
            late.append(times)
        for _ in range(pace.room(now)):
            sent += 1
            is_again = sent % NEW and late and now - late[0][-1] >= 0.5
            times = [*(late.popleft() if is_again else ()), now]
            pace.sent()
            if not nameserver.answers(now):
                fresh.append(times)
                continue
            pace.flying -= 1
            pace.answered(0.001, first=len(times) == 1)
            for before in times[:-1]:
                pace.lost(before)
            answered.append(now)
        pace.adapt(now)
        if pace.meets_silence:
            pace.judge_silence(lost=True)
    # Soon, so many of those that it would answer are asked, and few more.
    assert sum(at >= 20 for at in answered) > 0.85 * limit * 40
    assert sent < 1.5 * len(answered)
