"""The ground of a measurement: bundled servers, app and workers in a temporary folder.

All of it is removed afterwards, also after an error or Ctrl-C. Only processes of ours are ended.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import cached_property
from io import BytesIO
from pathlib import Path
from typing import Any

import psutil
import psycopg2
import redis
from samples import FLOOR_BATCH, Sample

from harness.config import ROOT, write_config
from servers.keeper import BundledServer

TABLES = "batch, chunk, email, file_piece, journal, skipped_row"
# Seconds: the limit until a process is ready, the limit until it has ended, and between polls.
READY, END, LOOK = 60.0, 25.0, 0.02
# A process is idle if it uses less than this share of a core for so many seconds.
IDLE_SHARE, IDLE_SECONDS = 0.08, 0.5
# Bytes that psycopg2 reads at once for COPY; more is no faster.
COPY_BYTES = 1 << 18
# A processor that only yields PROCESSED, as fast as a generator can.
NOOP = """
from processors import PROCESSED

def noop(addresses):
    for _ in addresses:
        yield PROCESSED
"""


class WrongCountError(Exception):
    """A batch's counts are wrong for its file, so its time says nothing."""


class Interrupts:
    """Makes SIGINT and SIGTERM raise KeyboardInterrupt, but not in shielded blocks."""

    def __init__(self) -> None:
        self._shields = 0
        self._waiting = False
        for signum in (signal.SIGINT, signal.SIGTERM):
            signal.signal(signum, self._handle)

    def _handle(self, _signum: int, _frame: object) -> None:
        if self._shields:
            self._waiting = True
        else:
            raise KeyboardInterrupt

    @contextlib.contextmanager
    def shielded(self) -> Iterator[None]:
        """Delay interrupts until the end of the block."""
        self._shields += 1
        try:
            yield
        finally:
            self._shields -= 1
        if self._waiting and not self._shields:
            self._waiting = False
            raise KeyboardInterrupt


class Program:
    """A process of app.py or worker.py that logs to a file."""

    def __init__(self, kind: str, config: Path, log: Path, *arguments: str, **urls: str) -> None:
        """Start the process. `kind` is "app" or "worker"; `config` is its configuration file."""
        self.kind, self.config, self.log = kind, config, log
        self._asked = False
        environment = {key: value for key, value in os.environ.items() if key != "PORT"}
        with log.open("wb") as output:
            self._process = subprocess.Popen(
                [sys.executable, str(ROOT / f"{kind}.py"), "--config", str(config), *arguments],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**environment, "PYTHONUNBUFFERED": "1", **urls},
                start_new_session=True,  # a Ctrl-C is ours to handle
            )

    @property
    def pid(self) -> int:
        return self._process.pid

    @cached_property  # because the log soon has megabytes
    def address(self) -> tuple[str, int]:
        """The host and port of an app."""
        match = re.search(r"serving url=http://([\d.]+):(\d+)", self.log.read_text())
        assert match, f"no app serves; see {self.log}"
        return match[1], int(match[2])

    def await_ready(self) -> None:
        """Wait until the process logs that it is ready, and then until it is idle."""
        ready = {"app": "serving url=", "worker": "worker started"}[self.kind]
        deadline = time.monotonic() + READY
        while ready not in self.log.read_text():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"{self.kind} does not start")
            time.sleep(LOOK)
        while time.monotonic() < deadline:
            before = self.cpu_seconds()
            time.sleep(IDLE_SECONDS)
            if self.cpu_seconds() - before < IDLE_SHARE * IDLE_SECONDS:
                return
        raise RuntimeError(f"{self.kind} does not come to rest")

    def log_end(self) -> str:
        """Return the last lines of the log."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-30:])

    def cpu_seconds(self) -> float:
        """Return the user and system time so far."""
        return _cpu_of(psutil.Process(self.pid))

    def peak_megabytes(self) -> float:
        """Return the peak of its memory (VmHWM)."""
        status = Path(f"/proc/{self.pid}/status").read_text()
        match = re.search(r"VmHWM:\s+(\d+) kB", status)
        assert match, status
        return int(match[1]) * 1024 / 1e6

    def terminate(self) -> None:
        """Send SIGTERM, once only: a second one would end the process at once."""
        if not self._asked and self._process.poll() is None:
            self._process.terminate()
        self._asked = True

    def stop(self) -> None:
        """End the process gracefully, or else by force."""
        self.terminate()
        try:
            self._process.wait(END)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


class Ground:
    """The servers and their folder, as a context manager; app and workers are started as needed."""

    def __init__(self, interrupts: Interrupts, postgres_config: str = "") -> None:
        """Set `postgres_config`: lines to be added to postgresql.conf."""
        self._interrupts = interrupts
        self._postgres_config = postgres_config
        self._servers: list[BundledServer] = []
        self._programs: list[Program] = []
        self._started = 0
        self._connection: Any = None

    def __enter__(self) -> Ground:
        try:
            with self._interrupts.shielded():
                self.folder = Path(tempfile.mkdtemp(prefix="email-batch-bench-"))
                self._start_servers()
        except BaseException:
            self._remove()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._remove()

    def _remove(self) -> None:
        # A second Ctrl-C must not leave anything behind.
        with contextlib.suppress(KeyboardInterrupt), self._interrupts.shielded():
            self._close()

    def _start_servers(self) -> None:
        if self._postgres_config:
            BundledServer("postgres", self.folder).release()  # makes the database's folder
            with (self.folder / "postgres/data/postgresql.conf").open("a") as config:
                config.write(self._postgres_config)
        for kind in ("postgres", "redis"):
            self._servers.append(BundledServer(kind, self.folder))
        self.database_url, self.redis_url = (server.url for server in self._servers)
        self._connection = self.connect()
        self._connection.autocommit = True

    def _close(self) -> None:
        for program in reversed(self._programs):
            program.stop()
        if self._connection is not None:
            self._connection.close()
        for server in reversed(self._servers):
            server.release()
        shutil.rmtree(self.folder, ignore_errors=True)

    # Processes.

    @contextlib.contextmanager
    def _run(self, kind: str, arguments: tuple[str, ...], changes: dict[str, Any]) -> Iterator[Any]:
        self._started += 1
        folder = self.folder / f"{kind}-{self._started}"
        folder.mkdir()
        (folder / "noop.py").write_text(NOOP)
        for name in [name for name in changes if name.endswith(".py")]:
            (folder / name).write_text(changes.pop(name))
        standing = {
            "server__port": 0,
            "upload__max_megabytes": 1000,
            "upload__max_rows": 20_000_000,
        }
        config = write_config(folder, **{**standing, **changes})
        urls = {"DATABASE_URL": self.database_url, "REDIS_URL": self.redis_url}
        with self._interrupts.shielded():
            program = Program(kind, config, folder / "log", *arguments, **urls)
            self._programs.append(program)
        try:
            yield program
        except Exception:
            sys.stderr.write(f"The {kind}'s log ends with:\n{program.log_end()}\n")
            raise
        finally:
            with self._interrupts.shielded():
                program.stop()
                self._programs.remove(program)

    @contextlib.contextmanager
    def app(self, **changes: Any) -> Iterator[Program]:
        """Run an app, with changed settings such as server__max_streams=9; yield it once idle."""
        with self._run("app", (), changes) as program:
            program.await_ready()
            yield program

    @contextlib.contextmanager
    def workers(
        self, number: int, threads: int, *arguments: str, **changes: Any
    ) -> Iterator[list[Program]]:
        """Run workers; yield them once idle. A change "x.py" is a module beside config.ini."""
        arguments = ("--threads", str(threads), *arguments)
        with contextlib.ExitStack() as stack:
            programs = [
                stack.enter_context(self._run("worker", arguments, dict(changes)))
                for _ in range(number)
            ]
            for program in programs:
                program.await_ready()
            try:
                yield programs
            finally:
                for program in programs:  # all at once; it takes each of them a second
                    program.terminate()

    # The servers.

    def connect(self) -> Any:
        """Return a new connection to PostgreSQL."""
        return psycopg2.connect(self.database_url)

    def redis(self) -> redis.Redis:
        """Return a client of Redis."""
        return redis.Redis.from_url(self.redis_url)

    def rows(self, sql: str, *parameters: object) -> list[tuple[Any, ...]]:
        """Return the rows of a statement, which is a transaction by itself."""
        with self._connection.cursor() as cursor:
            cursor.execute(sql, parameters)
            return list(cursor.fetchall()) if cursor.description else []

    def reset(self) -> None:
        """Empty the tables and make a checkpoint, so that each run starts alike.

        Ids aren't reset, because an app keeps the snapshots that it sent.
        """
        self.rows(f"TRUNCATE {TABLES}")
        self.rows("CHECKPOINT")

    def cpu_seconds(self) -> dict[str, float]:
        """Return the user and system time so far of app, workers, PostgreSQL and Redis."""
        used = {"app": 0.0, "worker": 0.0}
        for program in self._programs:
            used[program.kind] += program.cpu_seconds()
        used["postgres"] = self._postgres_cpu()
        used["redis"] = _cpu_of(_process_of(self.folder / "redis/redis.pid"))
        return used

    def _postgres_cpu(self) -> float:
        """Return the time of the postmaster and its children, with those that have ended."""
        postmaster = _process_of(self.folder / "postgres/data/postmaster.pid")
        total = 0.0
        for child in postmaster.children():
            with contextlib.suppress(psutil.Error):
                total += _cpu_of(child)
        times = postmaster.cpu_times()
        ended = float(times.children_user) + float(times.children_system)
        return total + ended + _cpu_of(postmaster)

    # Floors: what PostgreSQL takes by itself for the same rows.

    def floor(self, sample: Sample) -> dict[str, float]:
        """Return the seconds of COPY and of one UPDATE of all rows, and the CPU seconds of each.

        CPU seconds are those of PostgreSQL and of this process.
        """
        connection = self.connect()
        try:
            with connection.cursor() as cursor:
                began = self._floor_cpu()
                copy = timed(lambda: self._copy(connection, cursor, sample))
                copied = self._floor_cpu()
                update = timed(lambda: self._update(connection, cursor, sample))
                updated = self._floor_cpu()
        finally:
            connection.close()
        return {
            "copy": copy,
            "cpu_copy": copied - began,
            "update": update,
            "cpu_update": updated - copied,
        }

    def _floor_cpu(self) -> float:
        return self._postgres_cpu() + time.process_time()

    def _copy(self, connection: Any, cursor: Any, sample: Sample) -> None:
        cursor.copy_expert(
            "COPY email (batch_id, id, email, row_number) FROM STDIN",
            BytesIO(sample.copy_text),
            COPY_BYTES,
        )
        connection.commit()

    def _update(self, connection: Any, cursor: Any, sample: Sample) -> None:
        cursor.execute("UPDATE email SET status = 'processed' WHERE batch_id = %s", (FLOOR_BATCH,))
        if cursor.rowcount != sample.rows:
            raise WrongCountError(f"{cursor.rowcount} rows updated, {sample.rows} copied")
        connection.commit()

    # Batches.

    def await_completed(self, batch_id: int, rows: int) -> None:
        """Wait until the batch has ended, within a generous time for so many rows."""
        deadline = time.monotonic() + 120 + rows / 1000
        while self.rows("SELECT completed_at FROM batch WHERE id = %s", batch_id) == [(None,)]:
            if time.monotonic() > deadline:
                raise RuntimeError(f"batch {batch_id} of {rows} rows does not come to its end")
            time.sleep(LOOK)

    def assert_counts(self, batch_id: int, rows: int, failed: int) -> None:
        """Raise WrongCountError unless the batch is completed with these counts, row by row."""
        batch = self.rows(
            "SELECT status, total_emails, processed_count, failed_count FROM batch WHERE id = %s",
            batch_id,
        )
        wanted = [("completed", rows, rows, failed)]
        by_status = dict(
            self.rows("SELECT status, count(*) FROM email WHERE batch_id = %s GROUP BY 1", batch_id)
        )
        wanted_by_status = {"processed": rows - failed, "failed": failed}
        wanted_by_status = {key: number for key, number in wanted_by_status.items() if number}
        if batch != wanted or by_status != wanted_by_status:
            raise WrongCountError(
                f"batch {batch_id}: {batch} {by_status}, not {wanted} {wanted_by_status}"
            )

    def process_seconds(self, batch_id: int) -> float:
        """Return the seconds from the batch's start to its completion, by PostgreSQL's clock."""
        rows = self.rows(
            "SELECT extract(epoch FROM completed_at - started_at)::float8 FROM batch WHERE id = %s",
            batch_id,
        )
        return float(rows[0][0])


def timed(function: Callable[[], object]) -> float:
    """Return the seconds that the function takes."""
    began = time.monotonic()
    function()
    return time.monotonic() - began


def difference(before: dict[str, float], after: dict[str, float]) -> dict[str, float]:
    """Return the difference of each key's values."""
    return {key: round(after[key] - before[key], 4) for key in after}


def _process_of(pid_file: Path) -> psutil.Process:
    return psutil.Process(int(pid_file.read_text().split("\n", 1)[0]))


def _cpu_of(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user) + float(times.system)
