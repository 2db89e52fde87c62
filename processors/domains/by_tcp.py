"""Asks nameservers by TCP, in threads for that: few answers are too long for UDP."""

from __future__ import annotations

import threading
from collections.abc import Callable
from queue import SimpleQueue

from processors.domains import unusual
from processors.domains.nameserver import Nameserver, Query
from processors.domains.wire import Answer

THREADS = 8


class ByTcp:
    """The threads; each asks one question after the other. Any thread may call the methods."""

    def __init__(self, seconds: float, done: Callable[[Query, Answer | None], None]) -> None:
        """Start the threads, which call `done`: with None if no answer comes in `seconds`."""
        self._seconds = seconds
        self._done = done
        self._wanted: SimpleQueue[tuple[Query, Nameserver] | None] = SimpleQueue()
        self._closing = False
        # Not an executor: a process that ends would wait for all questions that its threads have.
        self._threads = [
            threading.Thread(target=self._run, name="dns-tcp", daemon=True) for _ in range(THREADS)
        ]
        for thread in self._threads:
            thread.start()

    def ask(self, query: Query, nameserver: Nameserver) -> None:
        """Ask the nameserver once a thread is free."""
        self._wanted.put((query, nameserver))

    def close(self) -> None:
        """End the threads. Questions that wait for one get no answer."""
        self._closing = True
        for _ in self._threads:
            self._wanted.put(None)
        for thread in self._threads:
            thread.join()

    def _run(self) -> None:
        while (wanted := self._wanted.get()) and not self._closing:
            query, nameserver = wanted
            answer = unusual.by_tcp(
                query.name, query.kind, nameserver.address, nameserver.port, self._seconds
            )
            self._done(query, answer)
