"""The threads that serve requests. A few requests begin at a time; any number may be under way."""

from __future__ import annotations

import contextlib
import threading
import time
from collections import deque
from typing import Protocol

from runtime import logs
from runtime.few_at_once import FewAtOnce

logger = logs.Logger("threads")


class Task(Protocol):
    """A request, as waitress gives it to a dispatcher."""

    def service(self) -> None: ...

    def cancel(self) -> None: ...


class Dispatcher:
    """Gives the oldest request to the thread that became idle last.

    There is a thread for each stream that may be open, and for each large file that may wait. If
    all of them ran side by side, eight requests would hand the interpreter on 35 times each. If
    idle threads took requests in turn, each would begin on one that has long been idle, which takes
    a third more CPU time.
    """

    def __init__(self, threads: int) -> None:
        self._few = FewAtOnce("requests")
        self._tasks: deque[Task] = deque()
        self._idle: list[_Thread] = []
        self._stopping = False
        self._threads = [_Thread(self, number) for number in range(threads)]
        for thread in self._threads:
            thread.start()

    def add_task(self, task: Task) -> None:
        """Have this request served; cancel it after shutdown()."""
        if self._stopping:
            task.cancel()
            return
        self._tasks.append(task)
        self._few.add(self._begin)

    def _begin(self) -> object | None:
        """Give the oldest task to an idle thread, and return a key; None without such a thread."""
        if not self._idle:
            return None
        # Neither the task nor the thread: both may be in use again before done() is called.
        key = object()
        self._idle.pop().go_on(self._tasks.popleft(), key)
        return key

    def is_idle(self, thread: _Thread, key: object) -> None:
        """Tell that a thread has no task, and with which key it had the last one."""
        self._idle.append(thread)  # first, because done() may begin a request
        self._few.done(key)
        if self._stopping:
            self._end_idle()

    def _end_idle(self) -> None:
        with contextlib.suppress(IndexError):  # another thread may have taken the last
            while True:
                self._idle.pop().go_on(None, None)

    def shutdown(self, timeout: float) -> None:
        """End the threads, and cancel what waits. Requests get `timeout` seconds to end."""
        self._stopping = True
        self._few.stop()  # from here on, no task is begun
        cancelled = len(self._tasks)
        while self._tasks:
            self._tasks.popleft().cancel()
        self._end_idle()
        deadline = time.monotonic() + timeout
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        running = sum(thread.is_alive() for thread in self._threads)
        if running or cancelled:
            logger.warning("requests have no answer", running=running, cancelled=cancelled)


class _Thread(threading.Thread):
    def __init__(self, dispatcher: Dispatcher, number: int) -> None:
        super().__init__(name=f"request-{number}", daemon=True)
        self._dispatcher = dispatcher
        self._task: Task | None = None
        self._key: object = None
        # Released to wake this thread.
        self._bell = threading.Lock()
        self._bell.acquire()

    def go_on(self, task: Task | None, key: object) -> None:
        """Have the thread serve this task, or end if there is none."""
        self._task, self._key = task, key
        self._bell.release()

    def run(self) -> None:
        while True:
            self._dispatcher.is_idle(self, self._key)
            self._bell.acquire()
            if self._task is None:
                return
            try:
                self._task.service()
            except BaseException:
                logger.exception("a request failed")
            self._task = None
