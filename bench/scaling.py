"""Figures of many workers with a processor that waits, as for another service.

Measures the emails a second of 1, 2, 4 and 8 worker processes of 64 threads, and their CPU time,
from which the number of workers for a wanted rate follows.
"""

from __future__ import annotations

import math
import time
from typing import Any

import calls
import samples
from ground import Ground, Program, difference
from report import Row, say, written

FIGURES = ("processes",)
STEPS = (1, 2, 4, 8)
THREADS = 64
# Milliseconds for each email.
SLEEPS = (50, 5)
# The intended duration of a step in seconds, and the highest rate expected.
SECONDS, FEW_SECONDS, MOST = 8, 2, 40_000
# Seconds between two polls of a batch's progress.
PAUSE = 0.05
# Emails a second that are 10,000,000 an hour.
WANTED = 10_000_000 / 3600
# Each thread has a connection, and at times two.
POSTGRES_CONFIG = f"max_connections = {STEPS[-1] * THREADS + 200}\n"
_SLEEPY = """
import time
from processors import PROCESSED

def sleepy(addresses):
    for _ in addresses:
        time.sleep({seconds})
        yield PROCESSED
"""


def measure(ground: Ground, rows: int) -> tuple[list[Row], Any, list[str]]:
    """Measure; return rows of the table, all values, and sentences on the need of WANTED.

    A chunk has the emails that a thread processes in a second, a turn's duration, so that a batch
    of a few seconds is enough for all threads. Needs POSTGRES_CONFIG.
    """
    seconds = SECONDS if rows >= 200_000 else FEW_SECONDS
    table: list[Row] = []
    steps: list[dict[str, Any]] = []
    sentences: list[str] = []
    for sleep in SLEEPS:
        chunk_size = 1000 // sleep
        of_sleep: list[dict[str, Any]] = []
        with ground.app(worker__chunk_size=chunk_size) as app:
            calls.upload(app.address, samples.make(1000))
            for processes in STEPS:
                say(f"{processes} processes of {THREADS} threads, {sleep} ms an email")
                of_sleep.append(_step(ground, app, processes, sleep, seconds))
        table += _rows(of_sleep)
        sentences.append(_sentence(of_sleep))
        steps += of_sleep
    return table, steps, sentences


def _step(ground: Ground, app: Program, processes: int, sleep: int, seconds: int) -> dict[str, Any]:
    """Process one batch of about so many seconds; CPU time is in seconds for 1,000 emails."""
    expected = min(processes * THREADS * 1000 // sleep, MOST)
    sample = samples.make(expected * seconds)
    ground.reset()
    processor = {
        "sleepy.py": _SLEEPY.format(seconds=sleep / 1000),
        "worker__processor": "sleepy:sleepy",
    }
    with ground.workers(processes, THREADS, **processor) as workers:
        batch_id = calls.upload(app.address, sample).batch_id
        before = ground.cpu_seconds()
        counts = _watch(ground, batch_id, sample.rows)
        used = difference(before, ground.cpu_seconds())
        peak = max(worker.peak_megabytes() for worker in workers)
    ground.assert_counts(batch_id, sample.rows, 0)
    lasted = ground.process_seconds(batch_id)
    return {
        "sleepMs": sleep,
        "processes": processes,
        "rows": sample.rows,
        "seconds": lasted,
        "rate": sample.rows / lasted,
        "middleRate": _middle_rate(counts, sample.rows),
        "cpuPerThousand": {kind: 1000 * each / sample.rows for kind, each in used.items()},
        "workerPeakMB": peak,
    }


def _watch(ground: Ground, batch_id: int, rows: int) -> list[tuple[float, int]]:
    """Wait until the batch has ended; return (time, emails processed) of each poll."""
    counts = [(time.monotonic(), 0)]
    while counts[-1][1] < rows:
        if time.monotonic() > counts[0][0] + 120:
            raise RuntimeError(f"batch {batch_id} of {rows} rows does not come to its end")
        time.sleep(PAUSE)
        [(count,)] = ground.rows("SELECT processed_count FROM batch WHERE id = %s", batch_id)
        counts.append((time.monotonic(), int(count)))
    return counts


def _middle_rate(counts: list[tuple[float, int]], rows: int) -> float:
    """Return the emails a second between the first and the last quarter."""
    first = next(pair for pair in counts if pair[1] >= rows / 4)
    last = next(pair for pair in counts if pair[1] >= rows * 3 / 4)
    return (last[1] - first[1]) / max(last[0] - first[0], PAUSE)


def _rows(steps: list[dict[str, Any]]) -> list[Row]:
    """Return rows for the rates, compared with one process, and for the last step's CPU time."""
    one = steps[0]["rate"]
    rows = [
        Row("processes", f"{step['processes']} × {THREADS} threads, {step['sleepMs']} ms an email",
            "emails/s", [step["rate"]], [one] if step is not steps[0] else [])
        for step in steps
    ]  # fmt: skip
    for kind in ("worker", "postgres"):
        label = f"… CPU time of {kind} for 1,000 emails"
        values = [1000 * step["cpuPerThousand"][kind] for step in steps]
        rows.append(Row("processes", label, "ms", values))
    return rows


def _sentence(steps: list[dict[str, Any]]) -> str:
    """Return a sentence on the processes and the CPU time that WANTED emails a second need."""
    sleep = steps[0]["sleepMs"]
    enough = next((step for step in steps if step["rate"] >= WANTED), None)
    each = steps[0]["rate"]
    number = math.ceil(WANTED / each)
    if enough is None:
        processes = f"more than {steps[-1]['processes']} processes on this machine"
    else:
        processes = (
            f"{number} process{'es' * (number > 1)} of {THREADS} threads by the rate of one alone,"
            f" {written(each, 'emails/s')} ({enough['processes']} did"
            f" {written(enough['rate'], 'emails/s')})"
        )
    cpu = (enough or steps[-1])["cpuPerThousand"]
    cores = {kind: cpu[kind] * WANTED / 1000 for kind in ("worker", "postgres", "redis")}
    return (
        f"10,000,000 emails an hour ({WANTED:,.0f}/s) of {sleep} ms each take {processes};"
        f" they use {cores['worker']:.2f} cores for the workers, {cores['postgres']:.2f} for"
        f" PostgreSQL, {cores['redis']:.2f} for Redis."
    )
