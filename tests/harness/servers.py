"""Start PostgreSQL, PgBouncer, Redis and Sentinels for a test, with settings of its own.

They listen on an address of the calling thread's host (see network.py), and ask for a password.
"""

from __future__ import annotations

import atexit
import functools
import os
import pwd
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Self

import psutil
import psycopg2
import pytest
import redis

from harness.polling import eventually
from harness.processes import Running
from servers import bundled
from servers.keeper import BundledServer

LOCALHOST = "127.0.0.1"
# With characters that must be escaped in a URL, but in no configuration file.
PASSWORD = "a%b@c/d"
PASSWORD_IN_URL = "a%25b%40c%2Fd"
POSTGRES_15 = Path("/usr/lib/postgresql/15/bin")
PGBOUNCER = Path("/usr/sbin/pgbouncer")
MASTER = "email-batch"


@functools.cache
def _made() -> Path:
    """Make a database folder of the bundled PostgreSQL, once for all tests of this process."""
    folder = Path(tempfile.mkdtemp(prefix="email-batch-"))
    atexit.register(shutil.rmtree, folder)
    BundledServer("postgres", folder).release()
    return folder / "postgres"


def made_folder() -> Path:
    """Copy that folder into a new one for bundled servers: to make a database takes far longer."""
    folder = Path(tempfile.mkdtemp(prefix="email-batch-"))
    subprocess.run(["cp", "-a", _made(), folder], check=True)  # noqa: S607 (it keeps owners)
    return folder


def free_port() -> int:
    """Return a free port of this thread's host.

    The kernel gives ports from 32768 on to clients, one of which could take it before the server
    does. 10080 is the highest below that which browsers refuse.
    """
    while True:
        port = 10_081 + secrets.randbelow(32_768 - 10_081)
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("", port))
            return port


# Statements that make each COPY of emails take 1.5 seconds.
LASTING_COPY = (
    "CREATE FUNCTION wait() RETURNS trigger LANGUAGE plpgsql"
    " AS $$ BEGIN PERFORM pg_sleep(1.5); RETURN NULL; END $$",
    "CREATE TRIGGER wait AFTER INSERT ON email FOR EACH STATEMENT EXECUTE FUNCTION wait()",
)


def required(path: Path, package: str) -> Path:
    """Return the path; let the test fail if there is nothing."""
    if not path.exists():
        pytest.fail(f"{path} is missing; on Debian 12: apt install {package}", pytrace=False)
    return path


def unprivileged() -> str | None:
    """Return the user for programs that refuse to run as root; None if this isn't root."""
    return "postgres" if os.getuid() == 0 else None


class Server(Running):
    """A server at `url` with a folder of its own, stopped at the end of the context."""

    def __init__(
        self,
        url: str,
        folder: Path,
        command: list[str],
        ready: Callable[[], object],
        user: str | None = None,
        end: signal.Signals = signal.SIGINT,
    ) -> None:
        """Start the server, and wait until it can be used.

        `ready` raises, or returns something false, until then.
        `end` is the signal for an orderly stop, by default a fast shutdown of PostgreSQL or
        PgBouncer.
        """
        self.url = url
        self.folder = folder
        self._end = end
        super().__init__(command, log=folder / "output", user=user)
        try:
            eventually(lambda: self._is_ready(ready), 30)
        except BaseException:
            self.stop()
            raise

    def _is_ready(self, ready: Callable[[], object]) -> bool:
        assert self.alive, self.output
        try:
            return bool(ready())
        except (psycopg2.OperationalError, redis.RedisError, OSError):
            return False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop(self._end)

    def kill(self) -> None:
        """Kill the server, as if its machine had lost power."""
        self.stop(signal.SIGKILL)


@contextmanager
def temporary_folder() -> Iterator[Path]:
    """Make a folder for the data of servers, and remove it at the end.

    The path of pytest's own folder is too long for sockets, and only its owner may enter it.
    """
    path = Path(tempfile.mkdtemp(prefix="email-batch-"))
    path.chmod(0o755)
    try:
        yield path
    finally:
        shutil.rmtree(path)


@contextmanager
def bundled_servers(*kinds: str) -> Iterator[list[BundledServer]]:
    """Start bundled servers of these kinds, in a folder of their own."""
    with temporary_folder() as folder, ExitStack() as stack:
        servers = []
        for kind in kinds:
            servers.append(BundledServer(kind, folder))
            stack.callback(servers[-1].release)
        yield servers


def _own_folder(parent: Path, name: str) -> Path:
    path = parent / name
    path.mkdir()
    if user := unprivileged():
        os.chown(path, pwd.getpwnam(user).pw_uid, -1)
    return path


def connects(url: str) -> bool:
    psycopg2.connect(url, connect_timeout=2).close()
    return True


def postgres(
    parent: Path, address: str = LOCALHOST, bin_folder: Path = POSTGRES_15, **settings: object
) -> Server:
    """Start a PostgreSQL with these settings, by default Debian's."""
    required(bin_folder / "postgres", "postgresql-15")
    folder, port = _own_folder(parent, "postgres"), free_port()
    (folder / "password").write_text(PASSWORD)
    (folder / "password").chmod(0o644)
    subprocess.run(
        [
            *(bin_folder / "initdb", "--no-sync", "--encoding=UTF8", "--locale=C.UTF-8"),
            *("--username=postgres", "--auth=scram-sha-256", f"--pwfile={folder / 'password'}"),
            folder / "data",
        ],
        check=True,
        stdout=subprocess.DEVNULL,
        user=unprivileged(),
    )
    with (folder / "data/pg_hba.conf").open("a") as file:
        file.write("host all all all scram-sha-256\n")
    all_settings = {
        "listen_addresses": address,
        "port": port,
        "unix_socket_directories": folder,
        **settings,
    }
    url = f"postgresql://postgres:{PASSWORD_IN_URL}@{address}:{port}/postgres"
    options = [f"--{name}={value}" for name, value in all_settings.items()]
    command = [str(bin_folder / "postgres"), "-D", str(folder / "data"), *options]
    return Server(url, folder, command, lambda: connects(url), unprivileged())


def pgbouncer(parent: Path, upstream: str, connections: int) -> Server:
    """Start a PgBouncer that pools transactions, with this number of connections to `upstream`."""
    required(PGBOUNCER, "pgbouncer")
    folder, port = _own_folder(parent, "pgbouncer"), free_port()
    known = psycopg2.extensions.parse_dsn(upstream)
    (folder / "users").write_text(f'"{known["user"]}" "{PASSWORD}"\n')
    (folder / "users").chmod(0o644)
    (folder / "ini").write_text(
        f"[databases]\n* = host={known['host']} port={known['port']}\n"
        f"[pgbouncer]\nlisten_addr = {LOCALHOST}\nlisten_port = {port}\nunix_socket_dir =\n"
        f"auth_type = scram-sha-256\nauth_file = {folder}/users\npool_mode = transaction\n"
        f"default_pool_size = {connections}\nmax_client_conn = 200\n"
        f"admin_users = {known['user']}\n"
    )
    url = f"postgresql://postgres:{PASSWORD_IN_URL}@{LOCALHOST}:{port}/{known['dbname']}"
    command = [str(PGBOUNCER), str(folder / "ini")]
    return Server(url, folder, command, lambda: connects(url), unprivileged())


def redis_server(
    parent: Path,
    name: str = "redis",
    *options: str,
    address: str = LOCALHOST,
    executable: str | None = None,
) -> Server:
    """Start a Redis with further options; `executable` is by default that of the bundled one."""
    folder, port = _own_folder(parent, name), free_port()
    url = f"redis://:{PASSWORD_IN_URL}@{address}:{port}/0"
    command = [
        *(executable or bundled.Redis._executable(), "--bind", address, "--port", str(port)),
        *("--unixsocket", str(folder / "redis.sock"), "--dir", str(folder), "--save", ""),
        *("--requirepass", PASSWORD, "--masterauth", PASSWORD, *options),
    ]
    return Server(url, folder, command, lambda: answers(url), end=signal.SIGTERM)


def answers(url: str) -> bool:
    with redis.Redis.from_url(url, socket_timeout=2, decode_responses=True) as client:
        return bool(client.ping())


def sentinel(parent: Path, name: str, master: str) -> Server:
    """Start one of three Sentinels for the Redis at the URL `master`."""
    folder, port = _own_folder(parent, name), free_port()
    watched = redis.connection.parse_url(master)
    (folder / "conf").write_text(
        f"port {port}\nbind {LOCALHOST}\ndir {folder}\nrequirepass {PASSWORD}\n"
        f"sentinel monitor {MASTER} {watched['host']} {watched['port']} 2\n"
        f"sentinel auth-pass {MASTER} {PASSWORD}\n"
        f"sentinel down-after-milliseconds {MASTER} 500\n"
        f"sentinel failover-timeout {MASTER} 3000\n"
    )
    url = f"redis://:{PASSWORD_IN_URL}@{LOCALHOST}:{port}"
    command = [bundled.Redis._executable(), str(folder / "conf"), "--sentinel"]
    return Server(url, folder, command, lambda: answers(url), end=signal.SIGTERM)


# The rights that docs/scaling.md says a user of Redis needs.
RIGHTS = ["~email-queue*", "resetchannels", "&batch:status:*", "+@all", "-@admin", "-@dangerous"]


def processes(word: str, folder: Path) -> list[psutil.Process]:
    """Return the processes whose command lines have both the word and the folder.

    A child that was just forked has its parent's command line until it gets its own; it isn't one.
    """
    found = {}
    for process in psutil.process_iter(["cmdline", "ppid", "status"]):
        line = " ".join(process.info["cmdline"] or ())
        if process.info["status"] != psutil.STATUS_ZOMBIE and word in line and str(folder) in line:
            found[process.pid] = process
    return [process for process in found.values() if process.info["ppid"] not in found]


def server_process(kind: str, folder: Path) -> psutil.Process:
    """Return the bundled server in the folder.

    Raises OSError, ValueError or psutil.Error if there is none.
    """
    file = {"postgres": "postgres/data/postmaster.pid", "redis": "redis/redis.pid"}[kind]
    return psutil.Process(int((folder / file).read_text().split("\n", 1)[0]))


def running(kind: str, folder: Path) -> list[psutil.Process]:
    """Return the processes of the bundled server and its keeper."""
    keepers = processes(f"servers.keeper {kind}", folder)
    server = processes("bin/postgres" if kind == "postgres" else "unixsocket", folder / kind)
    return keepers + server


@contextmanager
def database_of_its_own(url: str, name: str) -> Iterator[str]:
    """Make an empty database beside that of the tests at `url`, and drop it at the end."""
    connection = psycopg2.connect(url)
    connection.autocommit = True
    cursor = connection.cursor()
    cursor.execute(f"DROP DATABASE IF EXISTS {name}")
    cursor.execute(f"CREATE DATABASE {name}")
    yield url.replace("/email_batch?", f"/{name}?")
    cursor.execute(f"DROP DATABASE {name} WITH (FORCE)")
    connection.close()
