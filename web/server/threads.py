"""The threads that serve requests: of those that are idle, the one that was busy last is taken."""

from __future__ import annotations

import threading

from waitress.task import ThreadedTaskDispatcher


class _NewestFirst:
    """A condition whose lock is held by whoever calls its methods, as of threading.Condition.

    The thread that began to wait last is notified first.
    """

    def __init__(self, lock: threading.Lock) -> None:
        self._lock = lock
        self._waiting: list[threading.Lock] = []

    def wait(self) -> None:
        """Release the lock until this thread is notified."""
        own = threading.Lock()
        own.acquire()
        self._waiting.append(own)
        self._lock.release()
        try:
            own.acquire()
        finally:
            self._lock.acquire()

    def notify(self) -> None:
        """Notify one waiting thread, if there is any."""
        if self._waiting:
            self._waiting.pop().release()

    def notify_all(self) -> None:
        """Notify all waiting threads."""
        while self._waiting:
            self.notify()


class Dispatcher(ThreadedTaskDispatcher):  # type: ignore[misc]
    """Gives requests to threads.

    There is a thread for each stream that may be open, and for each large file that may wait.
    waitress would take them in turn, so that each request began on a thread that has long been
    idle: that takes a third more CPU time.
    """

    def __init__(self, threads: int) -> None:
        super().__init__()
        self.queue_cv = _NewestFirst(self.lock)
        self.set_thread_count(threads)
