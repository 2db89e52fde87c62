"""Measure a contender in emails per second."""

from __future__ import annotations

import importlib
import time

from arena import LINE_SECONDS, POLL_SECONDS, STUCK_SECONDS, Arena, ContenderError, Workers, say

from harness.config import write_config
from processors import Outcome

_COUNT = "SELECT count(*) FROM email WHERE batch_id = %s AND status <> 'pending'"
# Jobs are processed roughly in order, so this query finds a pending one near the end. It
# takes nearly no time, unlike a count of all.
_ANY_LEFT = (
    "SELECT 1 FROM email WHERE batch_id = %s AND status = 'pending'"
    " ORDER BY batch_id DESC, id DESC LIMIT 1"
)


def peer_rate(name: str, arena: Arena, emails: list[str], expected: list[Outcome]) -> float:
    """Measure from the first updated row to the last, without the start of the workers."""
    batch_id = arena.store(emails)
    arena.enqueue(name)
    with arena.workers(importlib.import_module(f"peer_{name}").COMMANDS) as workers:
        before, began = _await_first(arena, batch_id, workers)
        ended = _await_last(arena, batch_id, workers)
    arena.verify(expected)
    if before == len(emails):
        raise ContenderError(f"{before} emails are too few to measure it")
    return (len(emails) - before) / (ended - began)


def _await_first(arena: Arena, batch_id: int, workers: Workers) -> tuple[int, float]:
    """Return the number of updated rows when the first are seen, and the time (monotonic)."""
    deadline = time.monotonic() + STUCK_SECONDS
    while True:
        (count,) = arena.row(_COUNT, batch_id)
        if count:
            return count, time.monotonic()
        workers.check()
        if time.monotonic() > deadline:
            raise ContenderError(f"no row updated in {STUCK_SECONDS:.0f} s:\n{workers.tail()}")
        time.sleep(POLL_SECONDS)


def _await_last(arena: Arena, batch_id: int, workers: Workers) -> float:
    """Return the time at which all rows are updated (monotonic)."""
    count, moved, next_line = 0, time.monotonic(), time.monotonic() + LINE_SECONDS
    while arena.row(_ANY_LEFT, batch_id):
        workers.check()
        now = time.monotonic()
        if now > next_line:
            next_line = now + LINE_SECONDS
            last, (count,) = count, arena.row(_COUNT, batch_id)
            moved = now if count != last else moved
            say(f"  {count:,} emails")
        if now > moved + STUCK_SECONDS:
            raise ContenderError(f"it is stuck at {count:,} emails:\n{workers.tail()}")
        time.sleep(POLL_SECONDS)
    return time.monotonic()


def product_rate(arena: Arena, emails: list[str], expected: list[Outcome]) -> float:
    """Measure from the batch's `started_at` to its `completed_at`."""
    batch_id = arena.store(emails)
    config = write_config(arena.folder)
    worker = ["-m", "worker", "--config", str(config), "--threads", "4"]
    deadline = time.monotonic() + STUCK_SECONDS + len(emails) / 1000
    with arena.workers([worker]) as workers:
        while arena.row("SELECT status FROM batch WHERE id = %s", batch_id) != ("completed",):
            workers.check()
            if time.monotonic() > deadline:
                raise ContenderError(f"it takes too long:\n{workers.tail()}")
            time.sleep(POLL_SECONDS)
    (seconds,) = arena.row(
        "SELECT extract(epoch FROM completed_at - started_at)::float8 FROM batch WHERE id = %s",
        batch_id,
    )
    arena.verify(expected)
    return len(emails) / float(seconds)
