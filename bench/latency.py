"""Figures of small batches: time until ten addresses are processed, alone or behind a large one.

The large one may be of another processor.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from http.client import HTTPException
from itertools import cycle
from typing import Any

import calls
import samples
from ground import LOOK, READY, Ground, Program
from report import Row, percentile, say
from samples import Sample

FIGURES = ("small", "small-behind", "small-processors")
SMALL_ROWS = 10
# Small batches in a round that are followed on their own stream.
BATCHES = 200
# A smaller batch is processed in some hundredths of a second, too soon to send others behind it.
LEAST_BEHIND = 200_000
# Three processors, of which two workers have two each. `look` takes addresses; `crm` takes items,
# and answers.
PROCESSORS = ("check", "look", "crm")
_OF_WORKERS = ("check,look", "look,crm")
_OFFERED = {
    "processors__look": "offered:look",
    "processors__crm": "offered:crm",
    "offered.py": """
from processors import answered, one_by_one, per_item

@one_by_one
def look(address):
    return None

@per_item
def crm(item):
    return answered(customer=item.key)
""",
}


def _small(app: Program, sample: Sample, processor: str = "") -> float:
    """Return the seconds from the upload's connection until the batch's stream says completed."""
    upload = calls.upload(app.address, sample, processor=processor)
    with calls.stream(app.address, upload.batch_id) as snapshots:
        calls.await_completed(snapshots, upload.batch_id)
    return time.monotonic() - upload.began


class _Watcher:
    """Reads the stream of all batches in a thread, and notes the time of each completion."""

    def __init__(self, app: Program) -> None:
        self._app = app
        self._arrived = threading.Condition()
        self._completed: dict[int, float] = {}
        self._open = threading.Event()
        threading.Thread(target=self._read, daemon=True).start()
        if not self._open.wait(20):
            raise RuntimeError("the stream of all batches does not open")

    def _read(self) -> None:
        try:
            with calls.stream(self._app.address) as snapshots:
                self._open.set()
                for snapshot in snapshots:
                    if snapshot["status"] == "completed":
                        with self._arrived:
                            self._completed[snapshot["batchId"]] = time.monotonic()
                            self._arrived.notify()
        except (OSError, ValueError, HTTPException):
            return  # the app has ended

    def completed(self, batch_id: int) -> float:
        """Wait until the batch is completed, and return the time (monotonic)."""
        with self._arrived:
            if not self._arrived.wait_for(lambda: batch_id in self._completed, 60):
                raise RuntimeError(f"batch {batch_id} is not completed on the stream of all")
            return self._completed[batch_id]


def measure_small(ground: Ground, rounds: int) -> tuple[list[Row], Any]:
    """Measure ten addresses on an idle service, one batch after another."""
    sample = samples.make(SMALL_ROWS)
    own: list[list[float]] = []
    shared: list[list[float]] = []
    for number in range(1, rounds + 1):
        say(f"small batches, round {number} of {rounds}")
        ground.reset()
        with ground.app() as app, ground.workers(1, 4):
            _small(app, sample)  # the first one loads what the app needs
            own.append([_small(app, sample) for _ in range(BATCHES)])
            watcher = _Watcher(app)
            shared.append([])
            for _ in range(max(50, BATCHES // rounds)):
                upload = calls.upload(app.address, sample)
                shared[-1].append(watcher.completed(upload.batch_id) - upload.began)
            _assert_all_completed(ground, sample)
    rows = [
        *_percentiles("small", "10 addresses until completed", own, (50, 150)),
        *_percentiles("small", "… on the stream of all batches", shared, (50, 150)),
    ]
    return rows, {"own": own, "shared": shared}


def _percentiles(
    figure: str, label: str, rounds: list[list[float]], targets: tuple[float, float]
) -> list[Row]:
    """Return rows of the table for the median and the p99."""
    return [
        Row(
            figure,
            f"{label}, {name}",
            "ms",
            [1000 * percentile(each, percent) for each in rounds],
            target=target,
        )
        for (name, percent), target in zip((("median", 50), ("p99", 99)), targets, strict=True)
    ]


def _assert_all_completed(ground: Ground, *samples: Sample) -> None:
    """Raise WrongCountError unless every batch, each of one of the samples, has the right counts.

    Of the processors, only `check`, which is also a batch's without a name, finds any malformed.
    """
    malformed = {sample.rows: sample.malformed for sample in samples}
    for batch_id, rows, processor in ground.rows(
        "SELECT id, total_emails, coalesce(processor, 'check') FROM batch ORDER BY id"
    ):
        ground.assert_counts(batch_id, rows, malformed[rows] if processor == "check" else 0)


def measure_behind(ground: Ground, rows: int, rounds: int) -> tuple[list[Row], Any]:
    """Measure ten addresses behind a large batch, one batch after another until it ends."""
    large, small = samples.make(max(rows, LEAST_BEHIND)), samples.make(SMALL_ROWS)
    found: list[list[float]] = []
    with ground.app() as app:
        calls.upload(app.address, samples.make(1000))
        for number in range(1, rounds + 1):
            say(f"small batches behind {large.rows:,} emails, round {number} of {rounds}")
            ground.reset()
            with ground.workers(1, 4):
                (times,) = _behind(ground, app, large, small).values()
                found.append(times)
    label = f"10 addresses behind {large.rows:,}"
    worst = [1000 * max(each) for each in found]
    row = Row("small-behind", f"{label}, worst", "ms", worst, target=2000, worst=True)
    medians = [1000 * percentile(each, 50) for each in found]
    return [row, Row("small-behind", f"{label}, median", "ms", medians)], found


def measure_processors(ground: Ground, rows: int, rounds: int) -> tuple[list[Row], Any]:
    """Measure ten addresses of each processor behind a large batch of one of them, in turn.

    Two workers have different ones of the processors.
    """
    large = samples.make(max(rows, len(PROCESSORS) * LEAST_BEHIND))
    small = samples.make(SMALL_ROWS)
    found: list[dict[str, dict[str, list[float]]]] = []
    first, second = (
        ground.workers(1, 2, "--processors", names, **_OFFERED) for names in _OF_WORKERS
    )
    with ground.app(**_OFFERED) as app, first, second:
        for name in PROCESSORS:
            _small(app, small, name)  # the first one loads what the app needs
        for number in range(1, rounds + 1):
            found.append({})
            for busy in PROCESSORS:
                say(f"small batches behind {large.rows:,} of {busy}, round {number} of {rounds}")
                ground.reset()
                found[-1][busy] = _behind(ground, app, large, small, busy, PROCESSORS)
    table = []
    for name in PROCESSORS:
        label = f"10 addresses of {name}, behind {large.rows:,} of each processor, worst"
        worst = [1000 * max(max(times[name]) for times in each.values()) for each in found]
        table.append(Row("small-processors", label, "ms", worst, target=2000, worst=True))
    return table, found


def _behind(
    ground: Ground,
    app: Program,
    large: Sample,
    small: Sample,
    busy: str = "",
    names: Sequence[str] = ("",),
) -> dict[str, list[float]]:
    """Return the seconds of the small batches sent while the large one was `processing`.

    busy: the processor of the large one; by default, the only one.
    names: the processors of the small ones, which go in turn; the result is by these.
    """

    def status() -> str:
        return str(ground.rows("SELECT status FROM batch WHERE id = %s", batch_id)[0][0])

    batch_id = calls.upload(app.address, large, processor=busy).batch_id
    deadline = time.monotonic() + READY
    while status() == "pending":
        if time.monotonic() > deadline:
            raise RuntimeError("no worker begins with the large batch")
        time.sleep(LOOK)
    times: dict[str, list[float]] = {name: [] for name in names}
    in_turn = cycle(names)
    while status() == "processing":
        name = next(in_turn)
        times[name].append(_small(app, small, name))
    if not all(times.values()):
        raise RuntimeError("the large batch was processed before the small ones could be sent")
    ground.await_completed(batch_id, large.rows)
    _assert_all_completed(ground, large, small)
    return times
