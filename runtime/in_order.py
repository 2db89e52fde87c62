"""Lets only a few threads at a time do something, in the order in which they came."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count, islice

# Seconds between two looks whether a thread that waits is to go on waiting.
LOOK_SECONDS = 0.5


class LineFullError(Exception):
    """As many threads as may wait do."""


class InOrder:
    """The threads that are at it, and behind them those that wait."""

    def __init__(self, most: int, waiting: int) -> None:
        """Let `most` threads be at it at a time, and so many more wait."""
        self._most = most
        self._longest = most + waiting
        self._numbers = count()
        # A dict in place of a set, because it is in order.
        self._there: dict[int, None] = {}
        self._changed = threading.Condition()

    @contextmanager
    def turn(self, go_on: Callable[[], None]) -> Iterator[None]:
        """Wait until it is this thread's turn, which lasts as long as the block.

        `go_on` is called twice a second meanwhile, and may raise to leave. Raises LineFullError.
        """
        with self._changed:
            if len(self._there) >= self._longest:
                raise LineFullError
            mine = next(self._numbers)
            self._there[mine] = None
        try:
            while not self._is_due(mine):
                go_on()
            yield
        finally:
            with self._changed:
                del self._there[mine]
                self._changed.notify_all()

    def _is_due(self, mine: int) -> bool:
        """Return whether it is its turn, at once or within LOOK_SECONDS."""
        with self._changed:
            return self._changed.wait_for(
                lambda: mine in islice(self._there, self._most), LOOK_SECONDS
            )
