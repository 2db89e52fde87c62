"""Batches to ring for later, because a rate allows none of their emails at this moment.

Threads go on with other batches meanwhile. Each worker keeps a batch here once.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable

from batches.allowances import Wait

# The least seconds that a batch waits, in which the rate comes to allow several emails.
LEAST_SECONDS = 0.1


class LaterRings:
    """The batches, and when (monotonic) each is to be rung for. Any thread may call the methods."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._changed = threading.Condition()
        self._due: dict[int, float] = {}
        # When the processor's rate allows an email again.
        self._processor_due = -math.inf

    def __contains__(self, batch_id: int) -> bool:
        with self._changed:
            return batch_id in self._due

    @property
    def everyone_waits(self) -> bool:
        """Whether all batches wait, because of the processor's rate."""
        return self._clock() < self._processor_due

    def put(self, batch_id: int, wait: Wait) -> None:
        """Let the batch wait."""
        due = self._clock() + max(wait.seconds, LEAST_SECONDS)
        with self._changed:
            self._due[batch_id] = due
            if wait.everyone:
                self._processor_due = due
            self._changed.notify()

    def join(self, batch_id: int) -> bool:
        """Let the batch wait if all of them do; return whether they do."""
        with self._changed:
            if self.everyone_waits:
                self._due.setdefault(batch_id, self._processor_due)
            return self.everyone_waits

    def take(self) -> list[int]:
        """Remove and return the batches that are due."""
        now = self._clock()
        with self._changed:
            ready = [batch_id for batch_id, due in self._due.items() if due <= now]
            for batch_id in ready:
                del self._due[batch_id]
        return ready

    def take_one(self, timeout: float) -> int | None:
        """Remove and return the first batch that is due, or None after `timeout` seconds."""
        end = self._clock() + timeout
        with self._changed:
            while True:
                now = self._clock()
                first = min(self._due, key=self._due.__getitem__, default=None)
                due = end if first is None else self._due[first]
                if first is not None and due <= now:
                    del self._due[first]
                    return first
                if now >= end:
                    return None
                self._changed.wait(min(due, end) - now)
