"""How much work a call is, told apart from how busy the machine is."""

from __future__ import annotations

import time
from collections.abc import Callable


def least_seconds(call: Callable[[], object], runs: int = 3) -> float:
    """Return the processor time, in seconds, that `call` took of this thread in its best run.

    For functions of which the wrong way takes many times the right one's time, up to minutes: other
    threads, a collection of garbage or a first import disturb one run, never all of them.
    """
    seconds = []
    for _ in range(runs):
        began = time.thread_time()
        call()
        seconds.append(time.thread_time() - began)
    return min(seconds)
