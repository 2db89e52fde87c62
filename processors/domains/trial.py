"""Measures how fast nameservers answer, for `manage.py check`.

A few names are asked for over and over, and only names to which the nameservers have just given an
answer: they have it in their cache, so that it is they who are measured, and nobody else is asked
anything. Names that are different each time, or that don't exist, would send thousands of questions
on to the nameservers of others.
"""

from __future__ import annotations

import statistics
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import cycle

from processors.domains.exchange import Exchange
from processors.domains.wire import FOUND, MX, Answer

# Questions at first, one after the other, which show how long an answer takes; the most seconds for
# them.
SINGLE, SINGLE_SECONDS = 25, 0.3
# Questions at once after that, which show how many answers there are a second; how many answers are
# enough, because the last ones may be late; the most seconds for them.
AT_ONCE, ENOUGH, SECONDS = 5000, 4500, 1.0


@dataclass(frozen=True)
class Speed:
    """How fast the nameservers answer.

    `seconds` is how long an answer takes (the median).
    `a_second` is how many answers there are a second at least. There may be more: a second is too
    short to find out how many.
    `late` is the share of the queries that had no answer in time.
    """

    seconds: float
    a_second: float
    late: float


def measure(exchange: Exchange, names: Sequence[str]) -> Speed | None:
    """Ask for the mail servers of the names for a second; return None if hardly an answer comes.

    The names must be in the cache of the nameservers. Nobody else may use the exchange meanwhile.
    """
    trial = _Trial(exchange, names)
    exchange.run(trial.begin)
    trial.over.wait(SINGLE_SECONDS + SECONDS)
    return trial.speed(time.monotonic())


class _Trial:
    """A trial; its methods run in the exchange's thread, but for speed()."""

    def __init__(self, exchange: Exchange, names: Sequence[str]) -> None:
        self.over = threading.Event()
        self._exchange = exchange
        self._names = cycle(names)
        self._begun = self._at_once_since = 0.0
        self._seconds: list[float] = []  # of the single answers
        self._came: list[float] = []  # when the others came

    def begin(self) -> None:
        self._begun = time.monotonic()
        self._ask_one(self._begun)

    def _ask_one(self, now: float) -> None:
        self._exchange.ask(next(self._names), MX, lambda answer: self._take_one(answer, now))

    def _take_one(self, answer: Answer, asked: float) -> None:
        now = time.monotonic()
        if answer.result == FOUND:
            self._seconds.append(now - asked)
        if len(self._seconds) < SINGLE and now - self._begun < SINGLE_SECONDS:
            self._ask_one(now)
            return
        self._at_once_since = now
        for _ in range(AT_ONCE):
            self._exchange.ask(next(self._names), MX, self._take)

    def _take(self, answer: Answer) -> None:
        if answer.result == FOUND:
            self._came.append(time.monotonic())
        if len(self._came) == ENOUGH:
            self.over.set()

    def speed(self, now: float) -> Speed | None:
        came = self._came[:ENOUGH]
        if not came or not self._seconds:
            return None
        end = came[-1] if len(came) == ENOUGH else now
        # The exchange begins slowly, so that the second half of the time is mostly the better one.
        begun = self._at_once_since
        half = (begun + end) / 2
        counts = [each.counts for each in self._exchange.nameservers]
        return Speed(
            seconds=statistics.median(self._seconds),
            a_second=max(sum(at > since for at in came) / (end - since) for since in (begun, half)),
            late=sum(each.late for each in counts) / sum(each.queries for each in counts),
        )
