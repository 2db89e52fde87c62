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
# Seconds after which a thread no longer counts: one that waits for a slow client, for a lock or for
# PostgreSQL keeps others from going on for no longer. With 0.002, requests that compute for about a
# millisecond count too short, and a tenth fewer are answered.
LASTING = 0.005
# The key of a thread that waits no longer.
NOBODY = object()


class FewAtOnce:
    """Wakes the next thread when one has done what it was woken for, or has taken LASTING."""

    def __init__(self, name: str) -> None:
        """`name`: of the thread that looks for threads that have taken LASTING."""
        self._lock = threading.Lock()
        self._waiting: deque[Callable[[], Hashable | None]] = deque()
        # By key, those that were woken and count, in this order: when that was (monotonic).
        self._woken: dict[Hashable, float] = {}
        self._must_look = threading.Event()
        self._stopping = threading.Event()
        threading.Thread(target=self._look, name=name, daemon=True).start()

    def add(self, wake: Callable[[], Hashable | None]) -> None:
        """Have `wake` called when a thread may go on, after those that were added earlier.

        It wakes a thread and returns a key, with which done() is called; or it returns NOBODY. If
        it returns None, it is called again later. It must not block or raise. After stop(), it
        isn't called.
        """
        with self._lock:
            if not self._stopping.is_set():
                self._waiting.append(wake)
                self._go_on()

    def done(self, key: Hashable) -> None:
        """Tell that a thread waits again, or ends."""
        with self._lock:
            self._woken.pop(key, None)
            self._go_on()

    def stop(self) -> None:
        """Wake no further thread."""
        with self._lock:
            self._stopping.set()
            self._waiting.clear()
            self._must_look.set()

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
            self._must_look.set()

    def _look(self) -> None:
        while self._must_look.wait() and not self._stopping.wait(LASTING):
            with self._lock:
                # stop() may have been called since.
                if not self._stopping.is_set():
                    self._must_look.clear()
                self._go_on()
