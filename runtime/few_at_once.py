"""Wakes waiting threads, a few at a time, so that they don't compete for the interpreter.

Python runs one thread at a time. When hundreds go on at once, each takes a little, hands the
interpreter on, and waits for it again: more time goes into that than into their work.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Hashable

# Threads that may go on at a time: while one waits, another computes.
AT_ONCE = 2
# Seconds after which a woken thread is no longer counted. So one that waits for a slow client, a
# lock or PostgreSQL delays others by no more than this. With 0.002, requests that compute for a
# millisecond are often not counted to their end, and a tenth fewer are answered.
LASTING = 0.005
# What `wake` returns if its thread no longer waits.
NOBODY = object()


class FewAtOnce:
    """Wakes the next thread when one has done what it was woken for, or has taken LASTING.

    runtime.in_order is for long work: there, a thread counts until it has done it.
    """

    def __init__(self, name: str) -> None:
        """`name` is that of the thread that wakes others after LASTING."""
        self._lock = threading.Lock()
        self._added = threading.Condition(self._lock)
        self._waiting: deque[Callable[[], Hashable | None]] = deque()
        # When each counted thread was woken (monotonic), by key, the oldest first.
        self._woken: dict[Hashable, float] = {}
        self._stopping = threading.Event()
        threading.Thread(target=self._look, name=name, daemon=True).start()

    def add(self, wake: Callable[[], Hashable | None]) -> None:
        """Have `wake` called when a thread may go on, after those that were added earlier.

        It wakes a thread and returns a key for done(). It returns NOBODY if its thread no longer
        waits, and None if no thread is free: then it stays the first, and is called again. It must
        not block or raise. After stop(), it isn't called.
        """
        with self._lock:
            if not self._stopping.is_set():
                self._waiting.append(wake)
                self._go_on()

    def done(self, key: Hashable) -> None:
        """No longer count the thread with this key, if it is counted."""
        with self._lock:
            self._woken.pop(key, None)
            self._go_on()

    def stop(self) -> None:
        """Wake no further thread."""
        with self._lock:
            self._stopping.set()
            self._waiting.clear()
            self._added.notify()

    def _go_on(self) -> None:
        """Wake as many threads as may go on now. The lock is held."""
        now = time.monotonic()
        while self._woken:
            first, since = next(iter(self._woken.items()))
            if now < since + LASTING:
                break
            del self._woken[first]
        while self._waiting and len(self._woken) < AT_ONCE:
            key = self._waiting[0]()
            if key is None:
                break
            self._waiting.popleft()
            if key is not NOBODY:
                self._woken[key] = now
        if self._waiting:
            self._added.notify()

    def _look(self) -> None:
        while not self._stopping.wait(LASTING):
            with self._added:
                self._go_on()
                self._added.wait_for(lambda: self._waiting or self._stopping.is_set())
