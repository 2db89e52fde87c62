"""How many queries one nameserver gets at once and a second, which is found out while it is asked.

The window is the number of queries under way. It grows while answers come. The rate is the number
of queries a second; it is unlimited until queries turn out to be lost, because some nameservers
answer each client a number of queries a second, and none at all while it sends more.

A query counts as lost if a later one with the same question is answered. Silence alone may also
mean that the nameservers of a domain are dead, and a thousand such domains must not slow down all
others: it counts only if most queries meet it. A few losses are normal on any network, and change
nothing.
"""

from __future__ import annotations

# The window at first, and when a nameserver is back; and the smallest one.
FIRST, LEAST = 64, 8
# The smallest rate, and the one above which it is unlimited again; queries a second.
SLOWEST, FASTEST = 20.0, 50_000.0
# Seconds between two changes, at least; it is the time that an answer takes if that is longer.
INTERVAL = 0.1
# The shares of lost queries up to which window and rate grow, and from which on they shrink.
NORMAL, TOO_MANY = 0.05, 0.1
# The shares of late answers from which on nothing grows, and from which on late means lost.
MANY_LATE, MOST_LATE = 0.3, 0.5
# The growth of the window; that of the rate up to one that is safe; and that beyond it at first,
# and the seconds in which it doubles.
WIDER, FASTER, SLOWLY, DOUBLING = 1.5, 1.2, 0.002, 2.0
# By losses, the rate shrinks to this share of what it was; the other share of it is safe.
SLOWER, SAFE = 0.5, 0.9
# Seconds for which the rate stays safe before it grows further: at first, and at most. They double
# each time that it has grown too far.
HOLD, LONGEST_HOLD = 5.0, 80.0
# Seconds without an answer after which a query counts as late: at least, at most, and at first; and
# how much more than the average it is at least.
SOONEST, LATEST, AT_FIRST, SLACK = 0.15, 1.0, 0.5, 0.1
# Seconds between two times that the rate shrinks without having grown between them.
PAUSE = 2.5
# Seconds of the rate that may be sent at once.
BURST = 0.02


class Pace:
    """The window and the rate of one nameserver. Only one thread may use it."""

    def __init__(self, most: int) -> None:
        """`most` is the largest window."""
        self._most = most
        self.seconds = 0.0  # that an answer takes, on average
        self._spread = 0.0
        self.loss = 0.0  # the share of lost queries, on average
        self.silence = 0.0  # the share of first queries of questions that were late, on average
        self.patience = AT_FIRST  # seconds until a query counts as late
        self.rate: float | None = None  # queries a second; None if unlimited
        self._safe = 0.0
        self._hold = HOLD
        self._growing, self._shrunk = True, 0.0
        self._per_second, self._busy = 0.0, 0.0  # answers, on average, and in how many seconds
        self._adapted = 0.0
        self.begin()

    def begin(self) -> None:
        """Begin with a small window, and with nothing under way."""
        self.window = float(min(FIRST, self._most))
        self.flying = 0
        self._tokens, self._filled = 1.0, 0.0
        self._answered = self._first_answered = self._late = self._lost = 0
        self._was_full = False

    @property
    def capacity(self) -> float:
        """The answers a second that can be expected; 0 if nothing is known."""
        by_window = self.window / self.seconds if self.seconds else 0.0
        return by_window if self.rate is None else min(self.rate, by_window)

    def room(self, now: float) -> int:
        """Return how many queries may be sent now."""
        room = int(self.window) - self.flying
        if self.rate is not None and room > 0:
            most = max(1.0, self.rate * BURST)
            self._tokens = min(self._tokens + self.rate * (now - self._filled), most)
            self._filled = now
            room = min(room, int(self._tokens))
        if room <= 0:
            self._was_full = True
        return room

    def next(self, now: float) -> float:
        """Return the seconds until another query may be sent, as far as the rate is concerned."""
        return 0.0 if self.rate is None else max(0.0, (1.0 - self._tokens) / self.rate)

    def sent(self) -> None:
        """Note that a query was sent."""
        self.flying += 1
        self._tokens -= 1.0

    def answered(self, seconds: float, *, first: bool) -> None:
        """Note an answer, and how long it took.

        first: whether it is to a question that was asked once.
        """
        self._answered += 1
        self._first_answered += first
        if not self.seconds:
            self.seconds, self._spread = seconds, seconds / 2
        self._spread += (abs(seconds - self.seconds) - self._spread) / 16
        self.seconds += (seconds - self.seconds) / 16

    def late(self, *, first: bool) -> None:
        """Note that a query has no answer in time. It leaves the window.

        first: whether its question was asked for the first time. If it was asked again, it may well
        be one to which nobody has an answer.
        """
        self.flying -= 1
        self._late += first

    def lost(self, queries: int) -> None:
        """Note that earlier queries were lost, because a later one was answered."""
        self._lost += queries

    def adapt(self, now: float) -> None:
        """Change window and rate if it is time to, by what was noted since the last change."""
        passed = now - self._adapted
        if passed < max(INTERVAL, self.seconds):
            return
        self._adapted = now
        if self.seconds:
            patience = self.seconds + max(4 * self._spread, SLACK)
            self.patience = min(max(patience, SOONEST), LATEST)
        first = self._first_answered + self._late
        if first or self._answered:
            passed = min(passed, 1.0)
            self._busy = min(self._busy + passed, 1.0)
            self._per_second += (self._answered / passed - self._per_second) * passed / self._busy
            late = self._late / first if first else 0.0
            if first:
                self.silence += (late - self.silence) / 4
            share = self._lost / max(self._answered + self._lost, 1)
            self.loss += (share - self.loss) / 8
            share = max(share, late if late > MOST_LATE else 0.0)
            if share > TOO_MANY and self._lost + self._late > 2:
                self._shrink(share, now)
            elif self._was_full and share <= NORMAL and late <= MANY_LATE:
                self._grow(now)
        self._answered = self._first_answered = self._late = self._lost = 0
        self._was_full = False

    def _shrink(self, share: float, now: float) -> None:
        self.window = max(self.window * (1 - share / 2), LEAST)
        if not self._per_second:
            return  # perhaps nobody is there
        rate = self._per_second if self.rate is None else self.rate
        if self._growing and (self.rate is None or self.rate >= self._safe):
            self._safe = rate * SAFE
            self._hold = min(2 * self._hold, LONGEST_HOLD) if self.rate is not None else HOLD
        elif now < self._shrunk + PAUSE:
            return
        self._growing, self._shrunk = False, now
        self.rate = max(rate * SLOWER, SLOWEST)

    def _grow(self, now: float) -> None:
        self.window = min(self.window * WIDER, self._most)
        self._growing = True
        if self.rate is None:
            return
        if self.rate < self._safe:
            self.rate = min(self.rate * FASTER, self._safe)
        elif (beyond := now - self._shrunk - self._hold) > 0:
            self.rate *= min(1 + SLOWLY * 2 ** (beyond / DOUBLING), FASTER)
        if self.rate > FASTEST:
            self.rate = None
