"""Figures of many uploads at once: large ones at the same moment, and small ones without end."""

from __future__ import annotations

import statistics
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
# Measurements of one of them alone.
ALONE = 3
# Small lists in a row, by so many clients.
SMALL, SMALL_ROWS, CLIENTS = 5_000, 10, 20


def measure(ground: Ground, rounds: int) -> tuple[list[Row], Any]:
    """Measure large lists at once against one alone, and small lists; all are processed.

    Large lists are compared by the time until all are completed, because the first are processed
    while the last are stored, and a list alone has no such load beside it.
    """
    large, small = samples.make(LARGE_ROWS), samples.make(SMALL_ROWS)
    found: dict[str, list[float]] = {
        name: [] for name in ("alone", "large", "stored", "mb", "small", "p99")
    }
    for number in range(1, rounds + 1):
        say(f"many uploads at once, round {number} of {rounds}")
        ground.reset()
        with ground.app() as app, ground.workers(1, 4):
            calls.upload(app.address, samples.make(1000))  # the first one loads what the app needs
            alone = [_uploads(ground, app, large, 1, 1)[1] for _ in range(ALONE)]
            found["alone"].append(LARGE_ROWS / statistics.median(alone))
            stored, completed, _ = _uploads(ground, app, large, LARGE, LARGE)
            found["large"].append(LARGE * LARGE_ROWS / completed)
            found["stored"].append(LARGE * LARGE_ROWS / stored)
            found["mb"].append(app.peak_megabytes())
            stored, _, waits = _uploads(ground, app, small, SMALL, CLIENTS)
            found["small"].append(SMALL / stored)
            found["p99"].append(1000 * percentile(waits, 99))
    table = [
        Row("crowd", f"{LARGE} lists of {LARGE_ROWS:,} rows at once, until completed, against one",
            "rows/s", found["large"], found["alone"], ">=", 0.8),
        Row("crowd", "… until all are stored, while the first are processed", "rows/s",
            found["stored"]),
        Row("crowd", "… the app's peak memory", "MB", found["mb"], target=200),
        Row("crowd", f"{SMALL:,} uploads of {SMALL_ROWS} rows by {CLIENTS} clients", "uploads/s",
            found["small"], relation=">=", target=250),
        Row("crowd", "… their p99", "ms", found["p99"]),
    ]  # fmt: skip
    return table, found


def _uploads(
    ground: Ground, app: Program, sample: Sample, number: int, clients: int
) -> tuple[float, float, list[float]]:
    """Upload the list so many times.

    Returns the seconds until all are stored, those until all are completed, and those in which each
    was stored. The counts of the batches are right.
    """
    began = time.monotonic()
    with ThreadPoolExecutor(clients) as executor:
        uploads = [*executor.map(lambda _: calls.upload(app.address, sample), range(number))]
    stored = time.monotonic() - began
    for each in uploads:
        ground.await_completed(each.batch_id, sample.rows)
    completed = time.monotonic() - began
    for each in uploads[:100]:
        ground.assert_counts(each.batch_id, sample.rows, sample.malformed)
    return stored, completed, [each.seconds for each in uploads]
