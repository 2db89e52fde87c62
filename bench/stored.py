"""Figures of a database with many emails: what a person or a worker does, against an empty one.

Both databases are on servers of their own, and take turns with each upload, request and sweep. The
empty one has a page of batches of ten addresses, so that both list as many.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import mean, median
from typing import Any
from urllib.parse import urlencode

import calls
import filling
import samples
import upkeep
from ground import Ground, Interrupts, Program, difference, timed
from report import Row, say
from samples import Sample

FIGURES = ("stored", *upkeep.FIGURES)
# Rows of the list that is uploaded, and how often in a round; how often each request is sent.
ROWS, UPLOADS, TIMES = 100_000, 4, 20
# The small batches of the empty database, and their rows.
FEW, TINY = 100, 10
# Old batches of which a page is read for the first time.
OLD = 40
MOST = 1.2
# What is requested, by its name in the table.
REQUESTS = {
    "list of batches": ["/api/batches", "/api/batches?status=completed&limit=50"],
    "home page": ["/"],
    "batch page": ["/batches/{id}"],
    "results.csv": ["/api/batches/{id}/results.csv"],
    "results.csv, only the invalid": ["/api/batches/{id}/results.csv?only=invalid"],
    "health": ["/api/health"],
    # Reads all names, of ten thousand batches at most.
    "search in the names of batches": ["/api/batches?q=no-such-name"],
}
EXPIRED = "the query for expired batches, once a minute"
# Figures without a target: they read all batches, or are measured in hundredths of a second.
NO_TARGET = {"search in the names of batches", EXPIRED, "accept, CPU time", "process, CPU time"}
FILTERS: tuple[dict[str, object], ...] = (
    {},
    {"verdict": "invalid"},
    {"reason": "disposable"},
    {"q": "no-such-address"},
    {"after": ROWS // 2},
)


@dataclass
class Side:
    """A database with an app, a worker and a process that sweeps; `batch` was uploaded last."""

    ground: Ground
    app: Program
    sweeping: subprocess.Popen[str]
    batch: int = 0

    def upload(self, sample: Sample) -> dict[str, float]:
        """Upload the list and wait until it is processed; return seconds by what took them."""
        before = self.ground.cpu_seconds()
        accepted = calls.upload(self.app.address, sample)
        stored = self.ground.cpu_seconds()
        self.batch = accepted.batch_id
        self.ground.await_completed(self.batch, sample.rows)
        processed = self.ground.cpu_seconds()
        self.ground.assert_counts(self.batch, sample.rows, sample.malformed)
        return {
            "accept": accepted.seconds,
            "process": self.ground.process_seconds(self.batch),
            "accept, CPU time": sum(difference(before, stored).values()),
            "process, CPU time": sum(difference(stored, processed).values()),
        }

    def request(self, paths: list[str]) -> float:
        """Return the seconds until all of these are answered, one after the other."""
        with contextlib.closing(calls.connection(self.app.address)) as connection:
            asked = [path.format(id=self.batch) for path in paths]
            return timed(lambda: [calls.ask(connection, path) for path in asked])

    def sweep(self) -> list[float]:
        """Return the seconds of a sweep, and of the query for expired batches."""
        assert self.sweeping.stdin
        assert self.sweeping.stdout
        self.sweeping.stdin.write("\n")
        self.sweeping.stdin.flush()
        return list(json.loads(self.sweeping.stdout.readline()))


@contextlib.contextmanager
def _side(ground: Ground) -> Iterator[Side]:
    with ground.app() as app, ground.workers(1, 4) as (worker,):
        urls = {"DATABASE_URL": ground.database_url, "REDIS_URL": ground.redis_url}
        with subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("sweeping.py")), str(worker.config)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, **urls},
        ) as sweeping:
            assert sweeping.stdin
            with sweeping.stdin:  # whose end makes it end
                yield Side(ground, app, sweeping)


def measure(
    empty: Ground, interrupts: Interrupts, wanted: set[str], millions: int, rounds: int
) -> tuple[list[Row], Any, list[str]]:
    """Fill a database with this many million emails, and measure the wanted FIGURES of it."""
    table: list[Row] = []
    details: dict[str, Any] = {}
    sentences: list[str] = []
    with Ground(interrupts) as full:
        say(f"{millions} million emails to be stored")
        filling.fill(full, millions * 1_000_000)
        if "stored" in wanted:
            table, details = compare(empty, full, rounds)
        if wanted & {*upkeep.FIGURES}:
            rows, sentences = upkeep.measure(full, interrupts)
            table += rows
    return table, details, sentences


def compare(empty: Ground, full: Ground, rounds: int) -> tuple[list[Row], Any]:
    """Return the table of a full database against an empty one, and all values."""
    emails, batches = full.rows("SELECT sum(total_emails)::bigint, count(*) FROM batch")[0]
    stored = f"{emails / 1e6:,.0f} million emails in {batches:,} batches stored"
    old = [row[0] for row in full.rows("SELECT id FROM batch ORDER BY random() LIMIT %s", OLD)]
    sample = samples.make(ROWS)
    found: defaultdict[str, list[list[float]]] = defaultdict(list)
    with _side(empty) as first, _side(full) as second:
        sides = (first, second)
        for side in sides:
            side.upload(sample)  # the first one loads what the app needs
        for number in range(1, rounds + 1):
            say(f"{stored}, round {number} of {rounds}")
            for name, values in _round(sides, sample).items():
                found[name].append(values)
        cold = [1000 * _page_of(second, batch_id) for batch_id in old]
        warm = [1000 * _page_of(second, batch_id) for batch_id in old]
    empty.reset()
    table = [
        Row("stored", f"… {name}", "ms", *_columns(values),
            target=None if name in NO_TARGET else MOST)
        for name, values in found.items()
    ]  # fmt: skip
    table[0].label = f"{stored}: accept {ROWS:,} rows, against an empty database"
    label = "… a page of an old batch's emails, the first time, against the second"
    table.append(Row("stored", label, "ms", [median(cold)], [median(warm)]))
    return table, {"seconds": dict(found), "cold": cold, "warm": warm}


def _columns(values: list[list[float]]) -> tuple[list[float], list[float]]:
    """Return milliseconds of the full database and of the empty one, round by round."""
    return [1000 * full for _, full in values], [1000 * empty for empty, _ in values]


def _round(sides: tuple[Side, Side], sample: Sample) -> dict[str, list[float]]:
    """Return by name the median seconds on the empty and the full database."""
    empty, full = sides
    empty.ground.reset()
    empty.upload(samples.make(TINY))
    filling.copy(empty.ground, empty.batch, FEW)
    full.ground.rows("CHECKPOINT")
    runs: list[list[dict[str, float]]] = [[], []]
    for number in range(UPLOADS):
        # What the one leaves for the disk may slow down the other, so each is the first in turn.
        for place in (number % 2, 1 - number % 2):
            runs[place].append(sides[place].upload(sample))
    # The mean of CPU times, because each is measured in hundredths of a second.
    found = {
        name: [(mean if "CPU" in name else median)(run[name] for run in mine) for mine in runs]
        for name in runs[0][0]
    }
    for name, paths in REQUESTS.items():
        found[name] = _in_turn(sides, partial(Side.request, paths=paths))
    pages = [f"/api/batches/{{id}}/emails?{urlencode({'limit': 50, **each})}" for each in FILTERS]
    found["emails pages"] = _in_turn(sides, partial(Side.request, paths=pages))
    found["sweep"] = _in_turn(sides, lambda side: side.sweep()[0])
    found[EXPIRED] = _in_turn(sides, lambda side: side.sweep()[1])
    return found


def _in_turn(sides: tuple[Side, Side], measured: Callable[[Side], float]) -> list[float]:
    """Return the median seconds of each side, which take turns."""
    for side in sides:
        measured(side)
    seconds = [[measured(side) for side in sides] for _ in range(TIMES)]
    return [median(column) for column in zip(*seconds, strict=True)]


def _page_of(side: Side, batch_id: int) -> float:
    return side.request([f"/api/batches/{batch_id}/emails?limit=50"])
