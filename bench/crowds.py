"""Figures of many uploads at once: large ones at the same moment, and small ones without end."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import calls
import samples
from ground import Ground, Program
from report import Row, percentile, say
from samples import Sample

FIGURES = ("crowd",)
# Large lists at the same moment, and their rows.
LARGE, LARGE_ROWS = 20, 200_000
# Small lists in a row, by so many clients.
SMALL, SMALL_ROWS, CLIENTS = 5_000, 10, 20


def measure(ground: Ground, rounds: int) -> tuple[list[Row], Any]:
    """Measure both, and what one client alone gets; all batches are processed meanwhile."""
    large, small = samples.make(LARGE_ROWS), samples.make(SMALL_ROWS)
    found: dict[str, list[float]] = {name: [] for name in ("alone", "large", "mb", "small", "p99")}
    for number in range(1, rounds + 1):
        say(f"many uploads at once, round {number} of {rounds}")
        ground.reset()
        with ground.app() as app, ground.workers(1, 4):
            calls.upload(app.address, samples.make(1000))  # the first one loads what the app needs
            seconds, _ = _uploads(ground, app, large, 1, 1)
            found["alone"].append(LARGE_ROWS / seconds)
            seconds, _ = _uploads(ground, app, large, LARGE, LARGE)
            found["large"].append(LARGE * LARGE_ROWS / seconds)
            found["mb"].append(app.peak_megabytes())
            seconds, waits = _uploads(ground, app, small, SMALL, CLIENTS)
            found["small"].append(SMALL / seconds)
            found["p99"].append(1000 * percentile(waits, 99))
    table = [
        Row("crowd", f"{LARGE} uploads of {LARGE_ROWS:,} rows at once, against one", "rows/s",
            found["large"], found["alone"], ">=", 0.8),
        Row("crowd", "… the app's peak memory", "MB", found["mb"], target=200),
        Row("crowd", f"{SMALL:,} uploads of {SMALL_ROWS} rows by {CLIENTS} clients", "uploads/s",
            found["small"], relation=">=", target=250),
        Row("crowd", "… their p99", "ms", found["p99"]),
    ]  # fmt: skip
    return table, found


def _uploads(
    ground: Ground, app: Program, sample: Sample, number: int, clients: int
) -> tuple[float, list[float]]:
    """Upload the list so many times; return the seconds until all are stored, and those of each.

    All batches are processed, and their counts are right.
    """
    began = time.monotonic()
    with ThreadPoolExecutor(clients) as executor:
        uploads = [*executor.map(lambda _: calls.upload(app.address, sample), range(number))]
    seconds = time.monotonic() - began
    for each in uploads:
        ground.await_completed(each.batch_id, sample.rows)
    for each in uploads[:100]:
        ground.assert_counts(each.batch_id, sample.rows, sample.malformed)
    return seconds, [each.seconds for each in uploads]
