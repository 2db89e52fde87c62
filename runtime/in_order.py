"""Lets only so many threads work at a time, and the others wait in line."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count, islice

# Seconds between two looks whether a thread that waits is to go on waiting.
LOOK_SECONDS = 0.5


class LineFullError(Exception):
    """As many threads wait already as may."""


class InOrder:
    """A line of threads, of which the first few work and the others wait."""

    def __init__(self, most: int, waiting: int) -> None:
        """Let `most` threads work at a time, and `waiting` more wait."""
        self._most = most
        self._longest = most + waiting
        self._numbers = count()
        # The numbers of the threads in line: a dict in place of a set, because it keeps the order.
        self._line: dict[int, None] = {}
        self._changed = threading.Condition()

    @contextmanager
    def turn(self, go_on: Callable[[], None]) -> Iterator[None]:
        """Wait until it is this thread's turn, which lasts as long as the block.

        `go_on` is called every LOOK_SECONDS meanwhile; the thread leaves the line if it raises.
        Raises LineFullError.
        """
        with self._changed:
            if len(self._line) >= self._longest:
                raise LineFullError
            mine = next(self._numbers)
            self._line[mine] = None
        try:
            while not self._is_due(mine):
                go_on()
            yield
        finally:
            with self._changed:
                del self._line[mine]
                self._changed.notify_all()

    def _is_due(self, mine: int) -> bool:
        """Wait up to LOOK_SECONDS, and return whether it is the turn of the thread `mine`."""
        with self._changed:
            return self._changed.wait_for(
                lambda: mine in islice(self._line, self._most), LOOK_SECONDS
            )
