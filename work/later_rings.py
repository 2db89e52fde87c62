"""Batches to ring for later, because a rate allows none of their emails at this moment.

Threads go on with other batches meanwhile. Each worker keeps a batch here once.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from typing import NamedTuple

from batches.allowances import Wait

# The least seconds that a batch waits, in which the rate comes to allow several emails.
LEAST_SECONDS = 0.1


class _Ring(NamedTuple):
    """When (monotonic) a batch is to be rung for, and for which processor."""

    due: float
    processor: str


class LaterRings:
    """The batches that wait, with their processors. Any thread may call the methods."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._changed = threading.Condition()
        self._rings: dict[int, _Ring] = {}
        # By processor: when its rate allows an email again.
        self._processor_due: dict[str, float] = {}

    def __contains__(self, batch_id: int) -> bool:
        with self._changed:
            return batch_id in self._rings

    def everyone_waits(self, processor: str) -> bool:
        """Return whether all batches of the processor wait, because of its rate."""
        return self._clock() < self._processor_due.get(processor, -math.inf)

    def put(self, processor: str, batch_id: int, wait: Wait) -> None:
        """Let the batch wait."""
        due = self._clock() + max(wait.seconds, LEAST_SECONDS)
        with self._changed:
            self._rings[batch_id] = _Ring(due, processor)
            if wait.everyone:
                self._processor_due[processor] = due
            self._changed.notify()

    def join(self, processor: str, batch_id: int) -> bool:
        """Let the batch wait if all of its processor do; return whether they do."""
        with self._changed:
            waits = self.everyone_waits(processor)
            if waits:
                self._rings.setdefault(batch_id, _Ring(self._processor_due[processor], processor))
            return waits

    def take(self) -> list[tuple[str, int]]:
        """Remove and return the batches that are due, each with its processor."""
        now = self._clock()
        with self._changed:
            ready = [batch_id for batch_id, ring in self._rings.items() if ring.due <= now]
            return [(self._rings.pop(batch_id).processor, batch_id) for batch_id in ready]

    def take_one(self, timeout: float) -> tuple[str, int] | None:
        """Remove and return the first batch that is due, or None after `timeout` seconds."""
        end = self._clock() + timeout
        with self._changed:
            while True:
                now = self._clock()
                first = min(self._rings, key=self._rings.__getitem__, default=None)
                due = end if first is None else self._rings[first].due
                if first is not None and due <= now:
                    return self._rings.pop(first).processor, first
                if now >= end:
                    return None
                self._changed.wait(min(due, end) - now)
