"""Figures of size: time a row for lists of a tenth to five times the size, and peaks of memory."""

from __future__ import annotations

import statistics
from typing import Any

import calls
import samples
from ground import Ground
from report import Row, say
from throughput import Run, run_batch

FIGURES = ("growth", "memory")
# The sizes; the others are compared with the middle one.
SIZES = (100_000, 1_000_000, 5_000_000)
# The allowed difference of the time a row, and the allowed growth of memory.
FLAT = 0.15
FLAT_MEMORY = 1.10
# Megabytes of the app and of a worker for a million rows.
APP_MB, WORKER_MB = 150, 120
UPLOADS = 5
# Batches of the smallest size in each round; they are short.
SMALLEST_BATCHES = 3


def measure_growth(ground: Ground, rows: int, rounds: int) -> tuple[list[Row], Any]:
    """Measure the microseconds a row at each size, and the memory at the largest.

    One app and one worker take all sizes. The first round isn't timed, because this measures the
    price of size, not of a start, or of memory that a virtual machine gets from its host for the
    first time. That round gives the peaks of memory, one size after the other.
    """
    sizes = SIZES if rows >= SIZES[1] else (rows // 10, rows, rows * 5)
    times: dict[int, list[Run]] = {size: [] for size in sizes}
    floors: dict[int, list[dict[str, float]]] = {size: [] for size in sizes}
    peaks: dict[int, tuple[float, float]] = {}
    made = {size: samples.make(size, copy_text=True) for size in sizes}
    with ground.app() as app, ground.workers(1, 4) as (worker,):
        for number in range(rounds + 1):
            for size in (sizes[0],) * SMALLEST_BATCHES + sizes[1:]:
                which = f"round {number} of {rounds}" if number else "untimed round"
                say(f"growth, {size:,} rows, {which}")
                sample = made[size]
                ground.reset()
                floor = ground.floor(sample)
                ground.reset()
                run = run_batch(ground, app, sample, failed=sample.malformed)
                if number:
                    floors[size].append(floor)
                    times[size].append(run)
                else:
                    peaks[size] = (app.peak_megabytes(), worker.peak_megabytes())
        ground.reset()
    details = {str(size): [vars(run) for run in runs] for size, runs in times.items()}
    rows_of_table = _growth_rows(times, peaks, floors)
    return rows_of_table, {"runs": details, "peaksMB": peaks, "floors": floors}


def _growth_rows(
    times: dict[int, list[Run]],
    peaks: dict[int, tuple[float, float]],
    floors: dict[int, list[dict[str, float]]],
) -> list[Row]:
    def per_row(size: int, what: str) -> float:
        """Return the median of the microseconds a row of the batches of this size."""
        return 1e6 / size * float(statistics.median(getattr(run, what) for run in times[size]))

    def floor_per_row(size: int, what: str) -> float:
        return 1e6 / size * float(statistics.median(floor[what] for floor in floors[size]))

    smallest, base, largest = times
    rows = [
        Row("growth", f"{what} a row, {size:,} rows against {base:,}", "µs",
            [per_row(size, what)], [per_row(base, what)], "+-", FLAT)
        for what in ("accept", "process")
        for size in (smallest, largest)
    ]  # fmt: skip
    rows += [
        Row("growth", f"… {what.upper()} alone, {size:,} rows against {base:,}", "µs",
            [floor_per_row(size, what)], [floor_per_row(base, what)])
        for what in ("copy", "update")
        for size in (smallest, largest)
    ]  # fmt: skip
    rows += [
        Row("growth", f"{kind}'s peak memory, {largest:,} rows against {base:,}", "MB",
            [peaks[largest][place]], [peaks[base][place]], "<=", FLAT_MEMORY)
        for place, kind in enumerate(("app", "worker"))
    ]  # fmt: skip
    return rows


def measure_memory(ground: Ground, rows: int) -> tuple[list[Row], Any]:
    """Measure the peaks of a fresh app and a fresh worker, after one list and after five."""
    size = min(rows, SIZES[1])
    sample = samples.make(size)
    ground.reset()
    peaks: list[tuple[float, float]] = []
    with ground.app() as app, ground.workers(1, 4) as (worker,):
        idle = (app.peak_megabytes(), worker.peak_megabytes())
        for number in range(1, UPLOADS + 1):
            say(f"memory, upload {number} of {UPLOADS}")
            batch_id = calls.upload(app.address, sample).batch_id
            ground.await_completed(batch_id, size)
            ground.assert_counts(batch_id, size, sample.malformed)
            peaks.append((app.peak_megabytes(), worker.peak_megabytes()))
    ground.reset()
    rows_of_table = []
    for place, (kind, most) in enumerate((("app", APP_MB), ("worker", WORKER_MB))):
        first, last = peaks[0][place], peaks[-1][place]
        label = f"{kind}'s peak memory, {size:,} rows"
        rows_of_table += [
            Row("memory", label, "MB", [first], target=most),
            Row("memory", f"… after {UPLOADS} of them, against one", "MB", [last], [first],
                "<=", FLAT_MEMORY),
        ]  # fmt: skip
    return rows_of_table, {"idleMB": idle, "peaksMB": peaks}
