"""Figures of one large batch: accepting it, processing it, and both together.

A floor is measured right before each run of the product, so that the machine's other load affects
both. The figure of two workers has one worker as its floor.

All processes are warm. App and workers have had a list of the same size, at other domains but for
a few well-known ones. So the workers' sessions have touched PostgreSQL's shared memory, as the
session of the floor's UPDATE has, which has just copied the rows.
"""

from __future__ import annotations

import time
from collections import defaultdict
from dataclasses import dataclass
from typing import Any

import calls
import samples
from ground import Ground, Program, difference
from report import Row, say
from samples import Sample

FIGURES = (
    "accept",
    "accept-columns",
    "process-noop",
    "process-check",
    "process-check-2",
    "end-to-end",
)


@dataclass
class Run:
    """The times of one batch in seconds, and the CPU time by kind of process.

    `accept` is from connecting until the 201, `process` from the batch's started_at to its
    completed_at, `whole` from connecting until the batch's stream says that it is completed.
    """

    rows: int
    accept: float
    process: float
    whole: float
    cpu_accept: dict[str, float]
    cpu_process: dict[str, float]


def run_batch(ground: Ground, app: Program, sample: Sample, *, failed: int) -> Run:
    """Upload the list to a running app with idle workers, and wait until it is processed.

    Raises WrongCountError unless the expected number of emails has failed.
    """
    before = ground.cpu_seconds()
    upload = calls.upload(app.address, sample)
    stored = ground.cpu_seconds()
    with calls.stream(app.address, upload.batch_id) as snapshots:
        late = calls.await_completed(snapshots, upload.batch_id)
    whole = time.monotonic() - upload.began
    ended = ground.cpu_seconds()
    if late:  # it was completed before the stream opened
        whole = _completed_at(ground, upload.batch_id) - upload.began_wall
    ground.assert_counts(upload.batch_id, sample.rows, failed)
    return Run(
        sample.rows,
        upload.seconds,
        ground.process_seconds(upload.batch_id),
        whole,
        difference(before, stored),
        difference(stored, ended),
    )


def _completed_at(ground: Ground, batch_id: int) -> float:
    rows = ground.rows(
        "SELECT extract(epoch FROM completed_at)::float8 FROM batch WHERE id = %s", batch_id
    )
    return float(rows[0][0])


def measure(ground: Ground, wanted: set[str], rows: int, rounds: int) -> tuple[list[Row], Any]:
    """Measure the wanted FIGURES; return rows of the table and all values."""
    say(f"making a list of {rows:,} rows")
    sample = samples.make(rows, copy_text=True)
    found: defaultdict[str, list[dict[str, Any]]] = defaultdict(list)
    with ground.app() as app:
        warming = samples.at_other_domains(sample)
        calls.upload(app.address, warming)
        for number in range(1, rounds + 1):
            _round(ground, app, warming, sample, wanted, found, f"round {number} of {rounds}")
    return [*_table(wanted, rows, found)], dict(found)


def _round(
    ground: Ground,
    app: Program,
    warming: Sample,
    sample: Sample,
    wanted: set[str],
    found: dict[str, list[dict[str, Any]]],
    which: str,
) -> None:
    def product(
        name: str, workers: int, threads: int, processor: str, failed: int, *, floor: bool = True
    ) -> None:
        with ground.workers(workers, threads, worker__processor=processor):
            say(f"warming up for {name}, {which}")
            ground.reset()
            run_batch(ground, app, warming, failed=failed)
            if floor:
                say(f"floor of {name}, {which}")
                ground.reset()
                found[f"{name} floor"].append(ground.floor(sample))
            say(f"{name}, {which}")
            ground.reset()
            found[name].append(vars(run_batch(ground, app, sample, failed=failed)))

    if "accept-columns" in wanted:
        for name, columns in (("plain", ""), ("columns", samples.COLUMNS)):
            say(f"accept-columns, {name}, {which}")
            ground.reset()
            upload = calls.upload(app.address, sample, columns=columns)
            found[f"accept {name}"].append({"accept": upload.seconds})
    if "process-noop" in wanted:
        product("noop", 1, 4, "noop:noop", 0)
    if wanted - {"process-noop", "accept-columns"}:
        product("check", 1, 4, "check", sample.malformed)
    if "process-check-2" in wanted:
        product("check-2", 2, 2, "check", sample.malformed, floor=False)
    ground.reset()


def _table(wanted: set[str], rows: int, found: dict[str, list[dict[str, Any]]]) -> list[Row]:
    def seconds(name: str, key: str) -> list[float]:
        return [each[key] for each in found[name]]

    def rates(name: str, key: str) -> list[float]:
        return [rows / each for each in seconds(name, key)]

    def cpu(figure: str, name: str, step: str, floor: str) -> Row:
        """The CPU seconds of app, worker, PostgreSQL and Redis, against those of the floor."""
        used = [sum(each[f"cpu_{step}"].values()) for each in found[name]]
        return Row(figure, "… CPU time", "s", used, seconds(f"{name} floor", f"cpu_{floor}"))

    table = []
    if "accept" in wanted:
        table.append(
            Row("accept", f"accept {rows:,} rows, against COPY", "s",
                seconds("check", "accept"), seconds("check floor", "copy"), "<=", 1.3)
        )  # fmt: skip
        table.append(cpu("accept", "check", "accept", "copy"))
    if "accept-columns" in wanted:
        table.append(
            Row("accept-columns", "accept with two columns kept, against without", "s",
                seconds("accept columns", "accept"), seconds("accept plain", "accept"), "<=", 1.25)
        )  # fmt: skip
    if "process-noop" in wanted:
        table.append(
            Row("process-noop", "process, no-op, against one UPDATE", "emails/s",
                rates("noop", "process"), rates("noop floor", "update"), ">=", 1.2)
        )  # fmt: skip
        table.append(cpu("process-noop", "noop", "process", "update"))
    if "process-check" in wanted:
        table.append(
            Row("process-check", "process, check, against one UPDATE", "emails/s",
                rates("check", "process"), rates("check floor", "update"), ">=", 1.0)
        )  # fmt: skip
        table.append(cpu("process-check", "check", "process", "update"))
    if "process-check-2" in wanted:
        table.append(
            Row("process-check-2", "two workers of 2 threads, against one of 4", "emails/s",
                rates("check-2", "process"), rates("check", "process"), ">=", 1.0)
        )  # fmt: skip
    if "end-to-end" in wanted:
        both = [each["copy"] + each["update"] for each in found["check floor"]]
        table.append(
            Row("end-to-end", "first byte to completed, against COPY + UPDATE", "s",
                seconds("check", "whole"), both, "<=", 2.0)
        )  # fmt: skip
    return table
