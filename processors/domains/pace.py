"""How many queries one nameserver gets at once and a second, which is found out while it is asked.

The window is the number of queries under way, and the rate that of queries a second, because some
nameservers answer each client a number of queries a second, and none at all while it sends more.
Both grow while answers come, and shrink when queries turn out to be lost.

A query counts as lost if a later one with the same question is answered. Silence alone may also
mean that the nameservers of a domain are dead, and a thousand such domains must not slow down all
others: it counts only if most queries meet it, and a question that was answered before meets it,
too. A few losses are normal on any network, and change nothing.
"""

from __future__ import annotations

from collections import deque
from math import inf

# The window at first and when a nameserver is back, and the smallest one.
FIRST_WINDOW, LEAST_WINDOW = 64, 8
# The rate at first, the smallest one, and the one above which it is unlimited; queries a second. At
# first it is so low that a nameserver with a limit isn't asked far more before that shows.
FIRST_RATE, LEAST_RATE, FASTEST = 16_000.0, 20.0, 50_000.0
# Seconds of the rate that may be sent at once.
BURST = 0.02
# Seconds without an answer after which a query counts as late: at least, at most, and at first; and
# how much more than the average it is at least.
SOONEST, LATEST, AT_FIRST, SLACK = 0.15, 1.0, 0.5, 0.1

# Seconds between two changes, at least; it is the time that an answer takes if that is longer.
INTERVAL = 0.1
# The share of what was noted that still counts at the next change.
KEEP = 0.7
# The shares of lost queries up to which window and rate grow, and from which on they shrink.
NORMAL, TOO_MANY = 0.05, 0.1
# The shares of late answers from which on nothing grows, and from which on late may mean lost.
MANY_LATE, MOST_LATE = 0.3, 0.5
# Queries get lost, as loses() has it, above this share of lost ones, above this share of late first
# queries, and until so many seconds after the rate shrank.
LOSSY, SILENT, LONG_AGO = 0.02, 0.9, 20.0

# The growth of window and rate before the first losses.
FIRST_GROWTH = 2.0
# After them, the growth of the window, and that of the rate up to the safe one.
WIDER, FASTER = 1.5, 1.2
# The growth of the rate above the safe one is 1 + SLOWLY at first. What is beyond 1 doubles in so
# many seconds, and so many times at most; and GENTLY is the largest growth.
SLOWLY, DOUBLING, DOUBLINGS, GENTLY = 0.002, 2.0, 10, 1.01

# Seconds between two times that the rate shrinks: a nameserver with a limit may need some to answer
# again.
PAUSE = 2.5
# The share of a rate with losses that is safe.
SAFE = 0.9
# The shares of that rate to which it shrinks for a moment: usually; if the safe rate has losses
# again; at the first losses, after far too many queries.
SLOWER, SLOWEST, AT_FIRST_LOSSES = 0.7, 0.5, 0.25
# A safe rate stays so if losses come once, because a busy machine has some now and then, and not if
# they come again in so many seconds. It counts as the same rate up to this multiple.
SOON, SAME = 10.0, 1.001
# Seconds for which the rate stays safe before it grows further, at first and at most, and how many
# times longer that is each time after the rate has grown too far.
HOLD, LONGEST_HOLD, LONGER = 5.0, 80.0, 4.0
# The changes of the rate that are remembered: more than the longest patience has.
RATES = 32


class Pace:
    """The window and the rate of one nameserver. Only one thread may use it."""

    def __init__(self, most: int) -> None:
        """`most` is the largest window."""
        self._most = most
        self.seconds = 0.0  # that an answer takes, on average; 0 before the first
        self._spread = 0.0
        self.loss = 0.0  # the share of lost queries, on average
        self.silence = 0.0  # the share of first queries of questions that were late, on average
        self.patience = AT_FIRST  # seconds after which a query counts as late
        # Whether most first queries of questions were late not long ago.
        self.meets_silence = False
        self.rate = FIRST_RATE  # queries a second
        # The newest rates, each with the time from which on it was in use.
        self._rates = deque([(0.0, FIRST_RATE)], RATES)
        # The rate that is safe, None before the first losses; when the rate last shrank; and for
        # how long the safe rate isn't exceeded then.
        self._safe: float | None = None
        self._shrunk = -inf
        self._hold = HOLD
        # Answers a second, on average over this many seconds with questions: at most one.
        self._per_second, self._busy = 0.0, 0.0
        self._adapted = 0.0
        self.begin(0.0)

    def begin(self, now: float) -> None:
        """Begin with a small window, and with nothing under way."""
        self._since = now  # queries that were sent before have no weight any more
        self.window = float(min(FIRST_WINDOW, self._most))
        self.flying = 0
        # How many queries the rate allowed at that time.
        self._tokens, self._filled = 1.0, 0.0
        # What was noted, with less weight after each change; and the answers since the last one.
        self._answered = self._first_answered = self._late = self._lost = 0.0
        self._new = 0
        # Since the last change: whether there was no room at times, and whether anything was noted.
        self._was_full = self._noted = False
        self.meets_silence = False
        self._counts_silence = False  # whether silence counts as loss, by judge_silence()
        if self._safe is None:
            self.rate = FIRST_RATE

    @property
    def capacity(self) -> float:
        """The answers a second that can be expected soon; 0 if nothing is known."""
        if not self.seconds:
            return 0.0
        return min(self.rate, self.window / self.seconds, FIRST_GROWTH * self._per_second)

    def loses(self, now: float) -> bool:
        """Return whether queries get lost, or did so not long ago."""
        return self.loss > LOSSY or self.silence > SILENT or now < self._shrunk + LONG_AGO

    def room(self, now: float) -> int:
        """Return how many queries may be sent now."""
        room = int(self.window) - self.flying
        if self.rate < inf and room > 0:
            most = max(1.0, self.rate * BURST)
            self._tokens = min(self._tokens + self.rate * (now - self._filled), most)
            self._filled = now
            room = min(room, int(self._tokens))
        if room <= 0:
            self._was_full = True
        return room

    def seconds_to_next(self) -> float:
        """Return the seconds, since the last room(), until the rate allows another query."""
        return max(0.0, (1.0 - self._tokens) / self.rate)

    def sent(self) -> None:
        """Note that a query was sent."""
        self.flying += 1
        if self.rate < inf:
            self._tokens -= 1.0

    def answered(self, seconds: float, *, first: bool) -> None:
        """Note an answer, and how long it took.

        first: whether it is to a question that was asked once.
        """
        self._noted = True
        self._new += 1
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
        self._noted = True
        self._late += first

    def lost(self, sent: float) -> None:
        """Note that a query, sent at this time, was lost, because a later one was answered."""
        self._lost += sent >= self._since

    def judge_silence(self, *, lost: bool) -> None:
        """Say whether what meets silence is lost, or nobody has an answer to it."""
        self._counts_silence = lost
        if not lost:
            self._late = self.silence = 0.0
            self.meets_silence = False

    def adapt(self, now: float) -> None:
        """Change window and rate if it is time to, by what was noted since the last change."""
        passed = now - self._adapted
        if passed < max(INTERVAL, self.seconds):
            return
        self._adapted = now
        if self.seconds:
            patience = self.seconds + max(4 * self._spread, SLACK)
            self.patience = min(max(patience, SOONEST), LATEST)
        if self._noted:
            self._judge(now, min(passed, 1.0))
        self._rates.append((now, self.rate))
        self._was_full = self._noted = False

    def _judge(self, now: float, passed: float) -> None:
        """Change window and rate by what was noted in the `passed` seconds and not long before."""
        # While most meet silence, a time without an answer doesn't say how many come otherwise.
        if self._new or not self.meets_silence:
            self._busy = min(self._busy + passed, 1.0)
            self._per_second += (self._new / passed - self._per_second) * passed / self._busy
        late = self._late / max(self._first_answered + self._late, 1.0)
        lost = self._lost / max(self._answered + self._lost, 1.0)
        self.silence += (late - self.silence) / 4
        self.loss += (lost - self.loss) / 8
        self.meets_silence = late > MOST_LATE
        if self.meets_silence and self._counts_silence:
            lost = max(lost, late)
        if lost > TOO_MANY and self._lost + self._late > 2:
            self._shrink(lost, now)
        elif self._was_full and self._new and lost <= NORMAL and late <= MANY_LATE:
            self._grow(now)
        # What is lost or late was sent among what has been answered meanwhile.
        self._answered *= KEEP
        self._first_answered *= KEEP
        self._late *= KEEP
        self._lost *= KEEP
        self._new = 0

    def _shrink(self, lost: float, now: float) -> None:
        """Shrink the window by half of the share that is lost, and the rate if it is time to."""
        self.window = max(self.window * (1 - lost / 2), min(LEAST_WINDOW, self._most))
        if not self._per_second or now < self._shrunk + PAUSE:
            return
        # The rate when the queries were sent that turn out to be lost now.
        rate = next(rate for then, rate in reversed(self._rates) if then <= now - self.patience)
        kept = SLOWER
        if self._safe is None or rate == inf:  # only the answers say what is safe
            rate = min(rate, self._per_second)
            self._safe, kept = rate * SAFE, AT_FIRST_LOSSES
        elif rate > self._safe * SAME:  # it had grown gently
            self._safe = rate * SAFE
            self._hold = min(LONGER * self._hold, LONGEST_HOLD)
        elif now < self._shrunk + SOON:  # it wasn't safe
            self._safe, kept = rate * SAFE, SLOWEST
        self._answered = self._first_answered = self._late = self._lost = 0.0
        self.rate = max(rate * kept, LEAST_RATE)
        self._since = self._shrunk = now

    def _grow(self, now: float) -> None:
        """Let the window grow, and the rate if it isn't to stay safe for now."""
        wider = FIRST_GROWTH if self._safe is None else WIDER
        self.window = min(self.window * wider, self._most)
        beyond = now - self._shrunk - self._hold
        if self._safe is None:
            self.rate *= FIRST_GROWTH
        elif self.rate < self._safe:
            self.rate = min(self.rate * FASTER, self._safe)
        elif beyond > 0:
            # Without a limit, the power would be too large for a number after hours.
            self.rate *= min(1 + SLOWLY * 2 ** min(beyond / DOUBLING, DOUBLINGS), GENTLY)
        if self.rate > FASTEST:
            self.rate = inf
