"""Figures of reading a large processed batch: its results files, and pages of its emails."""

from __future__ import annotations

import contextlib
import json
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator
from functools import partial
from tempfile import TemporaryFile
from typing import IO, Any
from urllib.parse import urlencode
from zipfile import ZipFile

import calls
import samples
from ground import Ground, Program, timed
from report import Row, percentile, say
from samples import Sample

from tabular.workbooks.writer import MAX_ROWS

FIGURES = ("results", "emails-page", "search")
# Requests for each page.
TIMES = 20


class _Counter:
    """A file that only counts the bytes that COPY writes."""

    def __init__(self) -> None:
        self.bytes = 0

    def write(self, data: bytes) -> int:
        self.bytes += len(data)
        return len(data)


def measure(ground: Ground, wanted: set[str], rows: int, rounds: int) -> tuple[list[Row], Any]:
    """Measure the wanted FIGURES; return rows of the table and all values."""
    say(f"a processed batch of {rows:,} emails to read from")
    ground.reset()
    sample = samples.make(rows)
    with ground.app() as app, ground.workers(1, 4):
        batch_id = calls.upload(app.address, sample).batch_id
        ground.await_completed(batch_id, rows)
    ground.assert_counts(batch_id, rows, sample.malformed)
    ground.rows("CHECKPOINT")
    table: list[Row] = []
    details: dict[str, Any] = {}
    if "results" in wanted:
        table += _results(ground, batch_id, rows, rounds, details)
    if "emails-page" in wanted:
        with ground.app() as app:
            times = _pages(app, batch_id, _queries(app, batch_id, sample))
        details["emails-page"] = times
        label = "a page of emails, p99 of the slowest filter"
        table.append(_slowest("emails-page", label, times, 99, 60))
    if "search" in wanted:
        with ground.app() as app:
            times = _pages(app, batch_id, _searches(sample))
        details["search"] = times
        label = "a search for a part of an address, median of the slowest"
        table.append(_slowest("search", label, times, 50, 300))
        table.append(_slowest("search", "… p99 of the slowest", times, 99))
    return table, details


def _results(
    ground: Ground, batch_id: int, rows: int, rounds: int, details: dict[str, Any]
) -> list[Row]:
    found: defaultdict[str, list[float]] = defaultdict(list)
    endings = ["csv", "xlsx"] if rows < MAX_ROWS else ["csv"]
    _copy_out(ground, batch_id)  # so that the first floor finds the rows in memory too
    for number in range(1, rounds + 1):
        found["floor"].append(_copy_out(ground, batch_id))
        for ending in endings:
            say(f"results.{ending}, round {number} of {rounds}")
            with ground.app() as app:  # a fresh one, so that its peak is that of its downloads
                _download(app, batch_id, rows, ending)  # so that the app is warm, as the floor is
                size, seconds = _download(app, batch_id, rows, ending)
                found[f"{ending}AppPeakMB"].append(app.peak_megabytes())
            found[f"{ending}MBPerSecond"].append(size / 1e6 / seconds)
            found[f"{ending}RowsPerSecond"].append(rows / seconds)
    details["results"] = dict(found)
    table = [
        Row("results", "results.csv, against COPY TO", "MB/s",
            found["csvMBPerSecond"], found["floor"], ">=", 0.5),
        Row("results", "… the app's peak memory", "MB", found["csvAppPeakMB"]),
    ]  # fmt: skip
    if "xlsx" in endings:
        table += [
            Row("results", "results.xlsx, against results.csv", "rows/s",
                found["xlsxRowsPerSecond"], found["csvRowsPerSecond"]),
            Row("results", "… the app's peak memory", "MB", found["xlsxAppPeakMB"]),
        ]  # fmt: skip
    return table


def _copy_out(ground: Ground, batch_id: int) -> float:
    """Return the MB/s of COPY TO of the batch's emails."""
    counter = _Counter()
    with contextlib.closing(ground.connect()) as connection, connection.cursor() as cursor:
        sql = cursor.mogrify(
            "COPY (SELECT id, email, row_number, status, reason FROM email WHERE batch_id = %s)"
            " TO STDOUT",
            (batch_id,),
        )
        seconds = timed(lambda: cursor.copy_expert(sql, counter))
    return counter.bytes / 1e6 / seconds


def _download(app: Program, batch_id: int, rows: int, ending: str) -> tuple[int, float]:
    """Return the bytes of a download, and the seconds from connecting to the last byte.

    Raises RuntimeError if it hasn't as many rows as the batch, and a header.
    """
    size = 0
    with TemporaryFile() as file, contextlib.closing(calls.connection(app.address)) as connection:
        began = time.monotonic()
        connection.request("GET", f"/api/batches/{batch_id}/results.{ending}")
        response = connection.getresponse()
        while piece := response.read(1 << 18):
            size += len(piece)
            file.write(piece)
        seconds = time.monotonic() - began
        found = _rows_in(file, ending)
    if response.status != 200 or found != rows + 1:
        raise RuntimeError(f"results.{ending} has {found} rows, not {rows + 1} ({response.status})")
    return size, seconds


def _rows_in(file: IO[bytes], ending: str) -> int:
    file.seek(0)
    if ending == "csv":
        return sum(piece.count(b"\n") for piece in iter(lambda: file.read(1 << 18), b""))
    with ZipFile(file) as archive, archive.open("xl/worksheets/sheet1.xml") as sheet:
        last = b""
        for piece in iter(lambda: sheet.read(1 << 18), b""):
            last = last[-(1 << 18) :] + piece
    return int(last.rpartition(b'<row r="')[2].partition(b'"')[0])


def _pages(
    app: Program, batch_id: int, queries: Iterable[dict[str, object]]
) -> dict[str, list[float]]:
    """Return the seconds of each request for a page, by query.

    Raises RuntimeError if the answer to a search is not whole.
    """
    times: dict[str, list[float]] = {}
    with contextlib.closing(calls.connection(app.address)) as connection:
        for query in queries:
            path = f"/api/batches/{batch_id}/emails?{urlencode({'limit': 50, **query})}"
            name = urlencode(query) or "none"
            say(f"emails, filter {name}")
            page = json.loads(calls.ask(connection, path))
            if "q" in query and page["next"] and len(page["emails"]) < 50:
                raise RuntimeError(f"a search for {name} ended at {page['next']}")
            times[name] = [timed(partial(calls.ask, connection, path)) for _ in range(TIMES)]
    return times


def _slowest(
    figure: str,
    label: str,
    times: dict[str, list[float]],
    percent: int,
    target: float | None = None,
) -> Row:
    """Return the row for the slowest query's percentile, in milliseconds."""
    found = {name: 1000 * percentile(each, percent) for name, each in times.items()}
    slowest = max(found, key=lambda name: found[name])
    return Row(figure, f"{label} ({slowest})", "ms", [found[slowest]], target=target)


def _queries(app: Program, batch_id: int, sample: Sample) -> Iterator[dict[str, object]]:
    """Yield queries: each filter, each reason, a later page."""
    yield {}
    yield {"status": "failed"}
    yield {"status": "pending"}
    for verdict in ("ok", "risky", "unknown", "invalid"):
        yield {"verdict": verdict}
    batch = json.loads(calls.get(app.address, f"/api/batches/{batch_id}"))
    for reason in sorted(batch["reasons"]):
        yield {"reason": reason}
    yield {"after": sample.rows // 2}
    yield {"after": sample.rows // 2, "status": "failed"}


def _searches(sample: Sample) -> Iterator[dict[str, object]]:
    """Yield searches for what the last row has, and for what all, no or few rows have."""
    last = sample.last.partition("@")[0][-12:]
    for part in (last, last.upper(), "not there", "a", "@f", "zz", "%", "_", "é", sample.last):
        yield {"q": part}
