"""The figure of a processor whose work must not be repeated: a commit for each email.

Its floor is pgbench's rate of commits, each of which updates a single row, by as many clients as
the workers have threads. Both wait for the disk.
"""

from __future__ import annotations

import re
import subprocess
from typing import Any

import calls
import samples
from ground import Ground, Program
from report import Row, say

from servers import bundled

FIGURES = ("once",)
WORKERS, THREADS = 4, 16
# Emails of the batch, and of a chunk: all threads get some.
EMAILS, CHUNK_SIZE = 60_000, 250
# The seconds of pgbench, and its rows, of which it draws one for each commit.
SECONDS, ROWS = 5, 100_000
TIMES_COMMITS = 0.5
_PROCESSOR = """
from processors import once, per_item

@once
@per_item
def nothing(item):
    return None
"""
_TABLE = (
    "CREATE TABLE bench_row (id integer PRIMARY KEY, number integer NOT NULL)"
    " WITH (fillfactor = 50)",
    f"INSERT INTO bench_row SELECT id, 0 FROM generate_series(1, {ROWS}) AS id",
)
_SCRIPT = f"""
\\set id random(1, {ROWS})
UPDATE bench_row SET number = number + 1 WHERE id = :id;
"""


def measure(ground: Ground, rounds: int) -> tuple[list[Row], Any]:
    """Measure the emails a second against pgbench's commits.

    PostgreSQL must allow as many connections as for scaling.py: each thread has two.
    """
    for statement in _TABLE:
        ground.rows(statement)
    rates, commits = [], []
    with ground.app(worker__chunk_size=CHUNK_SIZE) as app:
        calls.upload(app.address, samples.make(1000))
        for number in range(1, rounds + 1):
            say(f"commits, and emails with a commit each, round {number} of {rounds}")
            commits.append(_commits(ground))
            rates.append(_emails(ground, app))
    label = f"{EMAILS:,} emails, noted one by one, {WORKERS} × {THREADS} threads, against commits"
    table = [Row("once", label, "emails/s", rates, commits, ">=", TIMES_COMMITS)]
    return table, {"rates": rates, "commits": commits}


def _emails(ground: Ground, app: Program) -> float:
    """Return the emails a second of a processor that does nothing."""
    ground.reset()
    sample = samples.make(EMAILS)
    processor = {"nothing.py": _PROCESSOR, "worker__processor": "nothing:nothing"}
    with ground.workers(WORKERS, THREADS, **processor):
        batch_id = calls.upload(app.address, sample).batch_id
        ground.await_completed(batch_id, EMAILS)
    ground.assert_counts(batch_id, EMAILS, 0)
    return EMAILS / ground.process_seconds(batch_id)


def _commits(ground: Ground) -> float:
    """Return pgbench's commits a second."""
    ground.reset()
    script = ground.folder / "commits.sql"
    script.write_text(_SCRIPT)
    _, programs = max(bundled.postgres_programs().items())
    clients = str(WORKERS * THREADS)
    command = [
        str(programs / "pgbench"), "--no-vacuum", "--file", str(script),
        "--client", clients, "--jobs", "2", "--time", str(SECONDS), ground.database_url,
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    match = re.search(r"tps = ([\d.]+)", done.stdout)
    if match is None:
        raise RuntimeError(f"pgbench ended with {done.returncode}: {done.stderr[-500:]}")
    return float(match[1])
