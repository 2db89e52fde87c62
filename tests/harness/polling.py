"""Wait for a condition, with a deadline; run functions in several threads at the same moment."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

from postgres.database import session


def eventually(condition: Callable[[], Any], seconds: float = 20.0, what: str = "") -> Any:
    """Return the condition's first true value. Raises AssertionError if there is none in time."""
    deadline = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < deadline, f"not within {seconds} s: {what or condition}"
        threading.Event().wait(0.02)


def in_threads(*functions: Callable[[], Any]) -> list[Any]:
    """Run the functions at once, each with a session of a minute, and return their results."""
    barrier = threading.Barrier(len(functions))
    results: list[Any] = [None] * len(functions)

    def run(index: int, function: Callable[[], Any]) -> None:
        with session(60):
            barrier.wait(60)
            results[index] = function()

    threads = [threading.Thread(target=run, args=pair) for pair in enumerate(functions)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results
