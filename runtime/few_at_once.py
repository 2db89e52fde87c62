"""Lets threads that wait go on, few at a time, so that they don't compete for the interpreter.

Python runs one thread at a time. When hundreds go on at once, each takes a little, hands the
interpreter on, and waits for it again: more time goes into that than into their work.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Hashable

# Threads that go on at a time. While one waits for PostgreSQL or for the system, another computes.
AT_ONCE = 2
# Seconds after which a thread doesn't keep others from going on.
LASTING = 0.01


class FewAtOnce:
    """Lets the next thread go on when one is done, or has gone on for LASTING seconds.

    So no thread waits for one that sends to a slow client, or waits for a lock.
    """

    def __init__(self, name: str) -> None:
        """`name` is that of the thread that looks which others have lasted."""
        self._lock = threading.Lock()
        self._waiting: deque[Callable[[], Hashable | None]] = deque()
        # The threads that haven't lasted yet, and the monotonic time since which they go on.
        self._young: dict[Hashable, float] = {}
        self._at_once = AT_ONCE
        self._must_look = threading.Event()
        self._stopping = threading.Event()
        threading.Thread(target=self._look, name=name, daemon=True).start()

    def add(self, go: Callable[[], Hashable | None]) -> None:
        """Call `go` when another thread may go on, after those that were added earlier.

        It lets a thread go on, returns what to give to done() for it, and blocks nobody; or it
        returns None if that can't be done yet, and is called again later.
        """
        with self._lock:
            self._waiting.append(go)
            self._go_on()

    def done(self, thread: Hashable) -> None:
        """Tell that this thread waits again, or ends."""
        with self._lock:
            self._young.pop(thread, None)
            self._go_on()

    def stop(self) -> None:
        """Let no further thread go on."""
        with self._lock:
            self._waiting.clear()
        self._stopping.set()
        self._must_look.set()

    def _go_on(self) -> None:
        """Let as many threads go on as may now. The lock is held."""
        while self._waiting and len(self._young) < self._at_once:
            thread = self._waiting[0]()
            if thread is None:
                break
            self._waiting.popleft()
            self._young[thread] = time.monotonic()
        if self._waiting:
            self._must_look.set()

    def _look(self) -> None:
        """Let further threads go on when those that went on have lasted."""
        while self._must_look.wait() and not self._stopping.wait(LASTING):
            with self._lock:
                before = time.monotonic() - LASTING
                lasting = [each for each, since in self._young.items() if since < before]
                for thread in lasting:
                    del self._young[thread]
                # Hundreds may come that all last: streams that browsers open again.
                self._at_once = 2 * self._at_once if lasting else AT_ONCE
                self._go_on()
                if not self._waiting:
                    self._at_once = AT_ONCE
                    self._must_look.clear()
