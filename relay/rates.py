"""Rates of batches, computed from their snapshots: the present rate, and a chart over time.

A batch is followed from the first snapshot with status "processing", and anew when its count goes
down, as after a retry.
"""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from collections.abc import Callable
from itertools import pairwise

from models import DELETED, Snapshot
from runtime.bounded import BoundedDict

# Seconds over which the present rate is averaged, and the least seconds between snapshots for it to
# be known, because snapshots of several threads often come at the same moment.
WINDOW_SECONDS = 5.0
LEAST_SECONDS = 0.5
# Least seconds between two snapshots that are both remembered.
STEP_SECONDS = 0.25
# The most points of a chart, and the seconds of each at first.
MAX_POINTS = 60
INTERVAL_SECONDS = 1.0
# Batches that are remembered: those that changed last.
MAX_BATCHES = 200


class _Chart:
    """Counts the emails processed in each interval since `start`.

    After MAX_POINTS intervals, neighbours merge and the interval doubles.
    """

    def __init__(self, start: float) -> None:
        self._start = start
        self._counts: list[float] = []
        self.interval = INTERVAL_SECONDS

    def add(self, begin: float, end: float, count: int) -> None:
        """Spread emails that were processed between these times evenly over the intervals."""
        self._reach(end)
        first, last = self._index(begin), self._index(end)
        for index in range(first, last + 1):
            since = max(begin, self._start + index * self.interval)
            until = min(end, self._start + (index + 1) * self.interval)
            share = (until - since) / (end - begin) if end > begin else 1.0
            self._counts[index] += count * share

    def points(self, end: float) -> list[float]:
        """Return the emails a second of each interval up to `end`.

        The last interval is left out until half of it is over.
        """
        self._reach(end)
        rates = [count / self.interval for count in self._counts]
        lasted = end - self._start - (len(rates) - 1) * self.interval
        if lasted < self.interval / 2:
            rates.pop()
        else:
            rates[-1] *= self.interval / lasted
        return [round(rate, 1) for rate in rates]

    def _index(self, at: float) -> int:
        return int((at - self._start) / self.interval)

    def _reach(self, end: float) -> None:
        while self._index(end) >= MAX_POINTS:
            self.interval *= 2
            self._counts = [sum(self._counts[i : i + 2]) for i in range(0, len(self._counts), 2)]
        self._counts += [0.0] * (self._index(end) + 1 - len(self._counts))


class _Track:
    """The rate of one batch, from its snapshots."""

    def __init__(self, snapshot: Snapshot, now: float) -> None:
        self.revision = snapshot.revision
        self._ended = False
        # Times, and emails processed by then. The first is the last from before the window.
        self._seen = deque([(now, snapshot.processed)])
        self._chart = _Chart(now)

    @property
    def processed(self) -> int:
        return self._seen[-1][1]

    def note(self, snapshot: Snapshot, now: float) -> None:
        last, processed = self._seen[-1]
        self._chart.add(last, now, snapshot.processed - processed)
        if len(self._seen) > 1 and last - self._seen[-2][0] < STEP_SECONDS:
            self._seen.pop()
        self._seen.append((now, snapshot.processed))
        while len(self._seen) > 2 and self._seen[1][0] <= now - WINDOW_SECONDS:
            self._seen.popleft()
        self.revision, self._ended = snapshot.revision, snapshot.terminal

    def rate(self, now: float) -> float | None:
        """Return the emails a second at the last snapshot, fading to 0 once the next is late."""
        last, processed = self._seen[-1]
        begin, before = self._seen[0]
        since = max(begin, last - WINDOW_SECONDS)
        if last - since < LEAST_SECONDS:
            return None
        after, then = self._seen[1]
        before_window = before + (then - before) * (since - begin) / (after - begin)
        late = now - last - self._usual_gap()
        fading = max(0.0, 1 - max(0.0, late) / WINDOW_SECONDS)
        return (processed - before_window) / (last - since) * fading

    def _usual_gap(self) -> float:
        """Return the seconds after which the next snapshot is late."""
        times = [at for at, _ in self._seen]
        # The first gap lies partly before the window, and may have been a standstill.
        return max(b - a for a, b in pairwise(times[1:] if len(times) > 2 else times))

    def history(self, now: float) -> dict[str, float | list[float]] | None:
        """Return the JSON of a chart up to the last snapshot, or to now if the batch stands still.

        None if there is no point yet.
        """
        stands_still = self.rate(now) == 0 and not self._ended
        points = self._chart.points(now if stands_still else self._seen[-1][0])
        return {"interval": self._chart.interval, "points": points} if points else None


class Rates:
    """The rates of the batches that changed last. Any thread may call the methods."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._tracks = BoundedDict[int, _Track](MAX_BATCHES)

    def note(self, snapshot: Snapshot) -> None:
        """Follow the batch with its newest snapshot; ignore a snapshot that is known or older."""
        batch_id, now = snapshot.batch_id, self._clock()
        with self._lock:
            track = self._tracks.get(batch_id)
            if track is not None and snapshot.revision <= track.revision:
                return
            if snapshot.status in ("pending", DELETED):
                self._tracks.pop(batch_id, None)
            elif track is not None and snapshot.processed >= track.processed:
                track.note(snapshot, now)
                self._tracks[batch_id] = track
            elif snapshot.status == "processing":
                self._tracks[batch_id] = _Track(snapshot, now)

    def rate(self, batch_id: int) -> float | None:
        """Return the present emails a second; None if too little is known."""
        with self._lock:
            track = self._tracks.get(batch_id)
            return None if track is None else track.rate(self._clock())

    def pace(self, snapshot: Snapshot) -> dict[str, float | int | None]:
        """Return the JSON fields `rate`, in emails a second, and `secondsLeft`.

        Both are None unless the batch is being processed and its rate is known. The second is None
        as well if only emails are left that wait until later. For a batch with a rate of its own,
        it is at least as long as the rest takes at this rate.
        """
        rate = self.rate(snapshot.batch_id) if snapshot.status == "processing" else None
        shown = None if rate is None else round(rate, 1)
        rest = snapshot.total - snapshot.processed - snapshot.waiting
        each = 60 / snapshot.per_minute if snapshot.per_minute else 0.0
        if rest <= 0 or rate is None:
            left = None
        elif rate and shown:
            left = math.ceil(rest * max(each, 1 / rate))
        else:
            # The present rate of a batch with some emails a minute is 0 most of the time.
            left = math.ceil(rest * each) if each > LEAST_SECONDS else None
        return {"rate": shown, "secondsLeft": left}

    def history(self, batch_id: int) -> dict[str, float | list[float]] | None:
        """Return the JSON of a chart, or None if nothing is known.

        interval: in seconds
        points: in emails a second, the oldest first
        """
        with self._lock:
            track = self._tracks.get(batch_id)
            return None if track is None else track.history(self._clock())
