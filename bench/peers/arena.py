"""The arena of the contenders: bundled servers, tables, and processes."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from io import BytesIO
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import psutil
import psycopg2
import redis
from psycopg2.extensions import connection

from batches import intake
from postgres import database, schema
from processors import Outcome
from runtime import settings
from servers.keeper import BundledServer

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
SIGNALS = (signal.SIGINT, signal.SIGTERM)
# Seconds: that stopping workers are given before they are killed; between two looks at the table;
# between two lines of progress; without any until a round is given up.
STOP_SECONDS, POLL_SECONDS, LINE_SECONDS, STUCK_SECONDS = 10.0, 0.05, 5.0, 60.0
# An upload's default; the peers don't use it.
CHUNK_SIZE = settings.load(environ={}).worker.chunk_size
# Lines of a log that are shown if something goes wrong.
TAIL_LINES = 15


class ContenderError(Exception):
    """A contender failed; the message says why."""


def say(text: str) -> None:
    """Write progress to standard error."""
    print(text, file=sys.stderr, flush=True)


@contextmanager
def undisturbed() -> Iterator[None]:
    """Delay Ctrl-C and SIGTERM until the end of the block."""
    caught: list[int] = []
    before = {
        each: signal.signal(each, lambda number, _: caught.append(number)) for each in SIGNALS
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if caught:
        raise KeyboardInterrupt


class Arena:
    """The servers and a temporary folder, from construction to close()."""

    def __init__(self) -> None:
        self._stack = ExitStack()
        with undisturbed():
            try:
                self._start()
            except BaseException:
                self._stack.close()
                raise

    def _start(self) -> None:
        self.folder = Path(mkdtemp(prefix="email-batch-peers-"))
        self._stack.callback(shutil.rmtree, self.folder, ignore_errors=True)
        # The environment by which started processes find the servers.
        for kind, variable in (("postgres", "DATABASE_URL"), ("redis", "REDIS_URL")):
            server = BundledServer(kind, self.folder)
            self._stack.callback(server.release)
            os.environ[variable] = server.url
        database.init(os.environ["DATABASE_URL"], connections=2)
        self._stack.callback(database.disconnect)
        with database.session(60):
            schema.migrate()
        self._connection: connection = psycopg2.connect(os.environ["DATABASE_URL"])
        self._stack.callback(self._connection.close)
        self._connection.autocommit = True
        self._redis = redis.Redis.from_url(os.environ["REDIS_URL"])
        self._stack.callback(self._redis.close)

    def close(self) -> None:
        """End the servers and remove the folder."""
        with undisturbed():
            self._stack.close()

    def versions(self) -> dict[str, str]:
        """Return the versions of the servers."""
        (postgres,) = self.row("SHOW server_version")
        return {"PostgreSQL": postgres, "Redis": self._redis.info("server")["redis_version"]}

    def row(self, sql: str, *parameters: object) -> tuple[Any, ...]:
        """Return the first row of the query."""
        with self._connection.cursor() as cursor:
            cursor.execute(sql, parameters)
            found: tuple[Any, ...] = cursor.fetchone() or ()
            return found

    def store(self, addresses: list[str]) -> int:
        """Store a batch of these addresses like an upload, in empty tables."""
        self._redis.flushall()
        with self._connection.cursor() as cursor:
            cursor.execute("TRUNCATE batch, chunk, email, file_piece, skipped_row")
            # A contender must not bear the writes of the one before.
            cursor.execute("CHECKPOINT")
        file = BytesIO("".join(f"{address}\n" for address in ["email", *addresses]).encode())
        batch = intake.store(file, "list.csv", chunk_size=CHUNK_SIZE, max_rows=5_000_000)
        if batch.total_emails != len(addresses):
            raise ContenderError(f"{batch.total_emails} of {len(addresses)} addresses were stored")
        return int(batch.id)

    def verify(self, expected: list[Outcome]) -> None:
        """Raise ContenderError unless each email, in the order of ids, has the expected outcome."""
        url = os.environ["DATABASE_URL"]
        with closing(psycopg2.connect(url)) as reader, reader.cursor("all") as cursor:
            cursor.itersize = 20_000
            cursor.execute("SELECT status, reason FROM email ORDER BY batch_id, id")
            wrong = sum(
                row != (outcome.status, outcome.reason)
                for row, outcome in zip(cursor, expected, strict=True)
            )
        if wrong:
            raise ContenderError(f"{wrong} of {len(expected)} emails have a wrong status or reason")

    def enqueue(self, peer: str) -> None:
        """Enqueue a job for each email in the table, in a process of its own."""
        command = [sys.executable, str(HERE / "enqueue.py"), peer]
        run = subprocess.run(command, env=_environment(), start_new_session=True, check=False)
        if run.returncode:
            raise ContenderError("its jobs could not be enqueued; see above")

    @contextmanager
    def workers(self, commands: list[list[str]]) -> Iterator[Workers]:
        """Run Python processes with these arguments while the block lasts."""
        workers = Workers(self.folder / "workers.log")
        try:
            workers.start(commands)
            yield workers
        finally:
            workers.stop()


class Workers:
    """The processes of one contender, with one log."""

    def __init__(self, log: Path) -> None:
        self._log = log
        self._processes: list[subprocess.Popen[bytes]] = []

    def start(self, commands: list[list[str]]) -> None:
        """Start each process in a session of its own, so that Ctrl-C doesn't reach it."""
        with undisturbed(), self._log.open("wb") as log:
            for command in commands:
                self._processes.append(
                    subprocess.Popen(
                        [sys.executable, *command],
                        stdin=subprocess.DEVNULL,
                        stdout=log,
                        stderr=log,
                        cwd=self._log.parent,
                        env=_environment(),
                        start_new_session=True,
                    )
                )

    def check(self) -> None:
        """Raise ContenderError if a process has ended."""
        for process in self._processes:
            if process.poll() is not None:
                raise ContenderError(f"a worker ended with {process.returncode}:\n{self.tail()}")

    def tail(self) -> str:
        """Return the log's last lines."""
        return "\n".join(self._log.read_text(errors="replace").splitlines()[-TAIL_LINES:])

    def stop(self) -> None:
        """End the processes and their children, by force if they take too long."""
        with undisturbed():
            everyone: list[psutil.Process] = []
            for process in self._processes:
                with suppress(psutil.NoSuchProcess):
                    everyone += psutil.Process(process.pid).children(recursive=True)
                process.terminate()
            deadline = time.monotonic() + STOP_SECONDS
            for process in self._processes:
                with suppress(subprocess.TimeoutExpired):
                    process.wait(max(0.0, deadline - time.monotonic()))
            _, alive = psutil.wait_procs(everyone, max(0.0, deadline - time.monotonic()))
            for process in self._processes:
                process.kill()
                process.wait()
            for child in alive:
                with suppress(psutil.NoSuchProcess):
                    child.kill()


def _environment() -> dict[str, str]:
    path = os.pathsep.join((str(ROOT), str(HERE)))
    return {**os.environ, "PYTHONPATH": path}
