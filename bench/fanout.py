"""Figures of many open streams: delay from commit to event, and delay of other requests."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import calls
import samples
from ground import Ground, Program
from report import Row, percentile, say

import models
from batches import snapshots
from relay import publish
from relay.doorbell import Doorbell
from runtime import settings
from runtime.phrases import several

FIGURES = ("streams",)
STREAMS = 500
# The batches on which they are open: spread over some, and then all on one.
BATCHES = 10, 1
# Commits a second on all batches together, requests a second, and the duration in seconds.
COMMIT_RATE, ASK_RATE, SECONDS = 10, 20, 10.0
# Seconds that the last events get to arrive; and that the app gets to come to rest once all streams
# are open, as to open them is not what is measured.
LAST, SETTLE = 3.0, 1.0
# Rows of each batch; what a commit counts must never be all of them.
ROWS = 1000

Commit = tuple[int, int]


def measure(ground: Ground, rounds: int) -> tuple[list[Row], Any]:
    """Measure commits to unfinished batches, like a turn's, with many streams and some requests."""
    rows: list[Row] = []
    details: dict[str, Any] = {}
    for batches in BATCHES:
        found = []
        for number in range(1, rounds + 1):
            say(f"{STREAMS} streams, {several(batches, 'batch', 'batches')}, round {number}")
            ground.reset()
            with ground.app(server__max_streams=600, server__max_streams_per_client=600) as app:
                found.append(_round(ground, app, batches))
        on = f"{STREAMS} streams" if batches > 1 else f"{STREAMS} streams on one batch"
        rows += [
            _row(f"commit to event, {on}, median", [each.p50 for each in found], 30),
            _row(f"commit to event, {on}, p99", [each.p99 for each in found], 150),
            _row("… other requests meanwhile, p99", [each.asked_p99 for each in found], 100),
            Row("streams", "… the app's CPU time for an event", "µs", [each.cpu for each in found]),
        ]
        details[f"{batches}"] = [asdict(each) for each in found]
    return rows, details


def _row(label: str, values: list[float], target: float) -> Row:
    return Row("streams", label, "ms", values, target=target)


@dataclass(frozen=True)
class _Found:
    """What a round has found, in milliseconds: of the events, and of other requests meanwhile.

    cpu: the app's CPU time for an event in microseconds, with those requests.
    """

    deliveries: int
    p50: float
    p99: float
    longest: float
    asked: int
    asked_p99: float
    cpu: float


def _round(ground: Ground, app: Program, batches: int) -> _Found:
    """Measure the time from each commit to each of its events, and that of other requests."""
    sample = samples.make(ROWS)
    batch_ids = [calls.upload(app.address, sample).batch_id for _ in range(batches)]
    each = STREAMS // batches
    asked: list[float] = []
    stopping = threading.Event()
    with _listening(app, dict.fromkeys(batch_ids, each)) as listener:
        asker = threading.Thread(target=_ask, args=(app, batch_ids, stopping, asked))
        before = app.cpu_seconds()
        asker.start()
        try:
            commits = _commit(ground, app, batch_ids)
            time.sleep(LAST)
        finally:
            stopping.set()
            asker.join()
            used = app.cpu_seconds() - before
        output, _ = listener.communicate(timeout=60)
    arrivals = [(batch_id, revision, at) for batch_id, revision, at in json.loads(output)]
    delays = [at - commits[batch_id, revision] for batch_id, revision, at in arrivals
              if (batch_id, revision) in commits]  # fmt: skip
    _assert_delivered(commits, arrivals, each)
    if not asked:
        raise RuntimeError("no other request was answered")
    return _Found(
        len(delays),
        *(1000 * percentile(delays, percent) for percent in (50, 99, 100)),
        len(asked),
        1000 * percentile(asked, 99),
        1e6 * used / len(delays),
    )


@contextlib.contextmanager
def _listening(app: Program, counts: dict[int, int]) -> Iterator[subprocess.Popen[str]]:
    """Yield the listening process once all streams are open; it ends with its standard input."""
    host, port = app.address
    listener = subprocess.Popen(
        [
            *(sys.executable, str(Path(__file__).with_name("listener.py")), host, str(port)),
            *(f"{batch_id}={count}" for batch_id, count in counts.items()),
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        assert listener.stdout is not None
        if listener.stdout.readline() != "ready\n":
            raise RuntimeError("the streams could not all be opened")
        time.sleep(SETTLE)
        yield listener
    finally:
        listener.kill()
        listener.wait()


def _commit(ground: Ground, app: Program, batch_ids: list[int]) -> dict[Commit, float]:
    """Change the batches as turns do, at an even pace; return when each commit ended."""
    named = settings.load(app.config, environ={}).redis
    commits: dict[Commit, float] = {}
    began = time.monotonic()
    doorbell = Doorbell(ground.redis_url, named.queue_key)
    with contextlib.closing(doorbell), contextlib.closing(ground.connect()) as connection:
        for number in range(int(COMMIT_RATE * SECONDS)):
            time.sleep(max(0.0, began + number / COMMIT_RATE - time.monotonic()))
            with connection.cursor() as cursor:
                cursor.execute(
                    "UPDATE batch SET status = 'processing', revision = revision + 1,"
                    " started_at = coalesce(started_at, now()),"
                    " processed_count = processed_count + 1"
                    f" WHERE id = %s RETURNING {snapshots.COLUMNS}",
                    (batch_ids[number % len(batch_ids)],),
                )
                snapshot = models.Snapshot(*cursor.fetchone())
            connection.commit()
            # Timed from the end of the commit, which may wait long for the disk.
            commits[snapshot.batch_id, snapshot.revision] = time.monotonic()
            publish.publish(doorbell, named.channel_prefix, snapshot)
    return commits


def _ask(app: Program, batch_ids: list[int], stopping: threading.Event, asked: list[float]) -> None:
    """Request a batch and the page alternately, each over a new connection."""
    began, number = time.monotonic(), 0
    while not stopping.wait(max(0.0, began + number / ASK_RATE - time.monotonic())):
        path = f"/api/batches/{batch_ids[number % len(batch_ids)]}" if number % 2 else "/"
        before = time.monotonic()
        calls.get(app.address, path)
        asked.append(time.monotonic() - before)
        number += 1


def _assert_delivered(
    commits: dict[Commit, float], arrivals: list[tuple[int, int, float]], streams: int
) -> None:
    """Raise RuntimeError unless every stream got every revision, or one that superseded it."""
    arrived = Counter((batch_id, revision) for batch_id, revision, _ in arrivals)
    missing = sum(streams - arrived[commit] for commit in commits)
    if missing:
        raise RuntimeError(f"{missing} events of {streams * len(commits)} did not arrive")
