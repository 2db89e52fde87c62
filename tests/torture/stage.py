"""What a torture run plays on: real servers, one app and several workers, each a process.

An app or worker that ended is started again at once, as a service manager would; the bundled
servers have their keepers. Only processes that were started here are ever killed, by their pids.
"""

from __future__ import annotations

import contextlib
import http.client
import os
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections import defaultdict
from datetime import datetime
from pathlib import Path
from typing import Any

import psutil
import psycopg2
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from harness.config import ROOT, write_config
from harness.polling import eventually
from harness.processes import Running
from harness.servers import free_port, server_process
from servers.keeper import BundledServer
from torture import processor
from torture.audit import Faults

# The list of batch ids, and the set in which workers announce the names of keys that expire.
QUEUE_KEY = "email-queue"
WORKERS_KEY = f"{QUEUE_KEY}:workers"
WORKER_THREADS = 2
CHUNK_SIZE = 500
TURN_SECONDS = 0.3
# Seconds after which a turn is given up: long enough for turns on a busy machine, short enough for
# stops that outlast it.
TURN_TIMEOUT = 5

# Seconds: between two looks at the processes; that one which was asked to end may take (the
# worker's own shutdown_seconds is 10, and the machine is busy); that all may take to be ready.
LOOK = 0.03
END = 25.0
READY = 90.0


class Database:
    """A connection of the thread that uses it, made anew whenever it broke."""

    def __init__(self, url: str) -> None:
        self._url = url
        self.connection: Any = None

    def rows(self, sql: str, *parameters: object) -> list[tuple[Any, ...]]:
        """The answer to a statement of its own. Raises psycopg2.Error while there is none."""
        try:
            if self.connection is None:
                self.connection = psycopg2.connect(self._url, connect_timeout=3)
                self.connection.autocommit = True
            with self.connection.cursor() as cursor:
                cursor.execute(sql, parameters)
                rows: list[tuple[Any, ...]] = cursor.fetchall()
                return rows
        except psycopg2.Error:
            self.close()
            raise

    def close(self) -> None:
        connection, self.connection = self.connection, None
        if connection is not None:
            with contextlib.suppress(psycopg2.Error):
                connection.close()


class Child:
    """app.py or a worker.py. Harm comes from one thread, look() from another."""

    def __init__(
        self, name: str, command: list[str], ready: str, environment: dict[str, str], log: Path
    ) -> None:
        """`ready` is in the line that it logs when it's at work."""
        self.name = name
        self.log = log
        self._command = [sys.executable, *command]
        self._ready = ready
        self._environment = {**os.environ, **environment}
        self._lock = threading.RLock()
        self._process: Running | None = None
        # How the present process is to end: not at all, by a kill, or in good order until then.
        self._killed = False
        self._end_by: float | None = None
        self._stopped_until: float | None = None
        self._wanted = True
        self.peak_rss = 0

    def start(self) -> None:
        """Start a process; only look() and whoever comes before it may."""
        self._killed, self._end_by, self._stopped_until = False, None, None
        # A session of its own: a Ctrl-C is ours to handle.
        self._process = Running(self._command, self._environment, self.log, start_new_session=True)

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.alive

    @property
    def ready(self) -> bool:
        """Whether the present process has said that it's at work, and is left in peace."""
        with self._lock:
            if not self.running or self._killed or self._end_by or self._stopped_until:
                return False
            return self._ready in self._process.output  # type: ignore[union-attr]

    def kill(self) -> bool:
        """SIGKILL; False if it doesn't run."""
        with self._lock:
            if not self.running or self._killed:
                return False
            self._killed = True
            self._process.send(signal.SIGKILL)  # type: ignore[union-attr]
            return True

    def terminate(self) -> bool:
        """SIGTERM, upon which it must end with status 0; False if it isn't at work."""
        with self._lock:
            if not self.ready:
                return False
            self._end_by = time.monotonic() + END
            self._process.send(signal.SIGTERM)  # type: ignore[union-attr]
            return True

    def stop(self, seconds: float) -> bool:
        """SIGSTOP, and SIGCONT later; False if it isn't at work."""
        with self._lock:
            if not self.ready:
                return False
            self._stopped_until = time.monotonic() + seconds
            self._process.send(signal.SIGSTOP)  # type: ignore[union-attr]
            return True

    def retire(self) -> None:
        """Start no other process when the present one ends."""
        with self._lock:
            self._wanted = False

    def recall(self) -> None:
        """Start a process again after the last one has retired."""
        with self._lock:
            assert not self.running, f"{self.name} still runs"
            self._wanted = True
            self.start()

    def look(self, faults: Faults) -> None:
        """Do what is due: start it again, let it go on, note what is wrong."""
        with self._lock:
            assert self._process is not None
            status, now = self._process.status, time.monotonic()
            if status is None:
                if self._stopped_until and now > self._stopped_until:
                    self._process.send(signal.SIGCONT)
                    self._stopped_until = None
                if self._end_by and now > self._end_by and not self._killed:
                    faults.add(f"{self.name} has not ended {END} s after SIGTERM")
                    self._killed = True
                    self._process.send(signal.SIGKILL)
                return
            self._process.wait()
            if not self._wanted and self._end_by is None:
                return
            if not self._killed and (self._end_by is None or status != 0):
                asked = "by itself" if self._end_by is None else "after SIGTERM"
                faults.add(f"{self.name} ended {asked} with status {status}; see {self.log}")
            self._end_by = None
            if self._wanted:
                self.start()

    def measure(self) -> None:
        """Note how much memory it holds."""
        with contextlib.suppress(psutil.Error):
            if self._process is not None:
                rss = psutil.Process(self._process.pid).memory_info().rss
                self.peak_rss = max(self.peak_rss, rss)

    def destroy(self) -> None:
        """SIGKILL, for good."""
        self.retire()
        self.kill()
        if self._process is not None:
            self._process.wait(END)


class Stage:
    """Servers, app and workers, from start() to destroy()."""

    def __init__(
        self, workers: int, faults: Faults, function: str, options: dict[str, object]
    ) -> None:
        """`function` of processor.py makes the processor, from these `options`."""
        self._faults = faults
        self.folder = Path(tempfile.mkdtemp(prefix="email-batch-"))
        self.logs = Path(tempfile.mkdtemp(prefix="email-batch-logs-"))
        self._diary = threading.Lock()
        self._workers = workers
        self._function = function
        self._options = options
        self._servers: list[BundledServer] = []
        self.children: list[Child] = []

    def start(self) -> None:
        """Start servers, app and workers. To be left to a thread that no Ctrl-C interrupts, so
        that none is started and not known of."""
        for kind in ("postgres", "redis"):
            self._servers.append(BundledServer(kind, self.folder))
        self.database_url, self.redis_url = (server.url for server in self._servers)
        self.address = ("127.0.0.1", free_port())
        shutil.copy(processor.__file__, self.folder / "torture_processor.py")
        config = write_config(
            self.folder,
            server__port=self.address[1],
            worker__threads=WORKER_THREADS,
            worker__chunk_size=CHUNK_SIZE,
            worker__turn_seconds=TURN_SECONDS,
            worker__turn_timeout_seconds=TURN_TIMEOUT,
            worker__sweep_seconds=1,
            worker__processor=f"torture_processor:{self._function}",
            **{f"torture_processor__{name}": value for name, value in self._options.items()},
        )
        environment = {"DATABASE_URL": self.database_url, "REDIS_URL": self.redis_url}
        for name in ("app", *(f"worker-{number + 1}" for number in range(self._workers))):
            script, ready = (
                ("app.py", "serving") if name == "app" else ("worker.py", '"worker started"')
            )
            command = [str(ROOT / script), "--config", str(config)]
            log = self.logs / f"{name}.log"
            child = Child(name, command, f"event={ready} ", environment, log)
            child.start()
            self.children.append(child)

    def note(self, sentence: str) -> None:
        """Log what the harness did or saw, with the time that the other logs have."""
        now = datetime.now().astimezone().isoformat(timespec="milliseconds")
        with self._diary, (self.logs / "harness.log").open("a") as log:
            log.write(f"time={now} {sentence}\n")

    @property
    def app(self) -> Child:
        return self.children[0]

    @property
    def workers(self) -> list[Child]:
        return self.children[1:]

    def supervise(self, stopping: threading.Event) -> None:
        """Look after app and workers until `stopping`: a thread's work."""
        next_measure = 0.0
        while not stopping.wait(LOOK):
            for child in self.children:
                child.look(self._faults)
            if time.monotonic() > next_measure:
                next_measure = time.monotonic() + 0.5
                for child in self.children:
                    child.measure()

    def await_ready(self) -> None:
        """Wait until all are at work and the app answers. Raises AssertionError."""
        eventually(lambda: all(child.ready for child in self.children), READY, "all processes run")
        eventually(self.app_answers, READY, "the app answers")

    def retire(self, *children: Child) -> None:
        """End these in good order and for good, while supervise() looks on."""
        for child in children:
            child.retire()
            child.terminate()
        eventually(lambda: not any(child.running for child in children), END + 5, "all ended")

    def app_answers(self) -> bool:
        """Whether GET /api/health is answered, be it by 503."""
        connection = http.client.HTTPConnection(*self.address, timeout=5)
        try:
            connection.request("GET", "/api/health")
            connection.getresponse().read()
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()
        return True

    def worker_announced(self, client: redis.Redis) -> bool:
        """Whether Redis answers and knows a worker that is alive."""
        try:
            # Killed ones leave their names in the set, but their own keys expire.
            keys: Any = client.ping() and client.smembers(WORKERS_KEY)
            return bool(keys) and bool(client.exists(*keys))
        except redis.RedisError:
            return False

    def redis_client(self) -> redis.Redis:
        """A client of its own for the thread that asks."""
        return redis.Redis.from_url(
            self.redis_url,
            socket_timeout=3,
            socket_connect_timeout=3,
            retry=Retry(NoBackoff(), 1),  # a connection that was lost to an earlier harm
            decode_responses=True,
        )

    def server_pid(self, kind: str) -> int | None:
        """The pid of the postmaster or of the redis-server, if one of ours runs."""
        try:
            process = server_process(kind, self.folder)
            ours = str(self.folder / kind) in " ".join(process.cmdline())
            alive = process.status() != psutil.STATUS_ZOMBIE
        except (OSError, ValueError, psutil.Error):
            return None
        return process.pid if ours and alive else None

    def peak_megabytes(self) -> dict[str, int]:
        """The most memory that one process held, by its kind."""
        peaks: defaultdict[str, int] = defaultdict(int)
        for child in self.children:
            kind = child.name.split("-")[0]
            peaks[kind] = max(peaks[kind], child.peak_rss // 1_000_000)
        return dict(peaks)

    def destroy_children(self) -> None:
        """End app and workers for good."""
        for child in self.children:
            child.destroy()

    def destroy(self, *, keep_logs: bool) -> None:
        """End the servers; keep the folder with the logs or not. Nobody may use them any more."""
        for server in self._servers:
            server.release()
        if keep_logs:
            for name in (
                "postgres/log",
                "postgres/keeper.log",
                "redis/log",
                "redis/keeper.log",
            ):
                with contextlib.suppress(OSError):
                    shutil.copy(self.folder / name, self.logs / name.replace("/", "-"))
        else:
            shutil.rmtree(self.logs, ignore_errors=True)
        shutil.rmtree(self.folder, ignore_errors=True)
