"""Backups made while a worker is at work, restored elsewhere, and refused where they must be."""

import json
import os
import re
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
from contextlib import closing, contextmanager
from pathlib import Path

import psycopg2
import pytest
import servers as own
from support import ROOT, Process, csv_of, eventually, query, snapshot, store, write_config
from tls import Certificates

import backups
import invariants
import pgtools
import schema
from embedded import Embedded
from schema import NEWEST

EMAILS = 4000


@pytest.fixture
def manage(tmp_path):
    """Run a verb on the PostgreSQL at `url`, or on bundled servers."""

    def run(*arguments, url="embedded", redis_url="unix:///nobody", folder=tmp_path, **environment):
        config = write_config(folder)
        urls = {"REDIS_URL": redis_url, "DATABASE_URL": url}
        if url == "embedded":
            urls = {}
        return subprocess.run(
            [sys.executable, str(ROOT / "manage.py"), "--config", str(config), *arguments],
            env={**os.environ, **urls, **environment},
            capture_output=True,
            text=True,
            timeout=100,
            check=False,
        )

    return run


@pytest.fixture
def empty():
    """A folder for bundled servers that were never started."""
    folder = Path(tempfile.mkdtemp(prefix="email-batch-"))
    yield folder
    shutil.rmtree(folder)


def rows(url, sql):
    connection = psycopg2.connect(url)
    try:
        cursor = connection.cursor()
        cursor.execute(sql)
        return cursor.fetchall()
    finally:
        connection.close()


def query_at(url, sql):
    connection = psycopg2.connect(url)
    connection.cursor().execute(sql)
    connection.commit()
    connection.close()


def wrong_at(url):
    return [sentence for sentence, sql in invariants.INVARIANTS.items() if rows(url, sql)]


@pytest.fixture
def backup_in_mid_batch(servers, processes, manage, slow, tmp_path):
    """A backup of a batch of which a worker has done a part, and goes on."""
    site = processes("app.py", **slow).site()
    content = csv_of(*(f"u{n}@x.de" if n % 7 else f"u{n}" for n in range(EMAILS)))
    assert site.upload(b"email\n" + content + b"\nu1@x.de\n").status == 201
    store("a@x.de", "b")
    processes("worker.py", "--threads", "2", **slow)
    eventually(lambda: snapshot(1).processed)
    folder = tmp_path / "manage"
    folder.mkdir()
    done = manage("backup", str(tmp_path / "b.dump"), url=servers.database_url, folder=folder)
    assert done.returncode == 0, done.stderr
    assert re.match(rf"2 batches with {EMAILS + 2:,} emails are in .*b\.dump: ", done.stdout)
    assert snapshot(1).status == "processing"
    return tmp_path / "b.dump"


def test_what_is_restored_on_an_empty_machine_is_whole_and_is_gone_on_with(
    backup_in_mid_batch, manage, empty, run
):
    assert stat.S_IMODE(backup_in_mid_batch.stat().st_mode) == 0o600
    done = manage("restore", str(backup_in_mid_batch), folder=empty)
    assert done.stderr == ""
    assert done.stdout == (
        f"2 batches with {EMAILS + 2:,} emails are restored, and all counts agree.\n"
    )
    server = Embedded("postgres", empty / "var")
    try:
        assert wrong_at(server.url) == []
        ((processed, status),) = rows(
            server.url, "SELECT processed_count, status FROM batch WHERE id = 1"
        )
        assert 0 < processed < EMAILS
        assert status == "processing"
        config = write_config(empty, server__port=0)
        app = run("app.py", "--config", str(config))
        run("worker.py", "--config", str(config))
        site = app.site()
        for batch_id in (1, 2):
            path = f"/api/batches/{batch_id}"
            eventually(lambda: site.get(path).json["status"] == "completed")  # noqa: B023
        batch = site.get("/api/batches/1").json
        assert (batch["processedCount"], batch["failedCount"]) == (EMAILS, -(-EMAILS // 7))
        assert batch["rows"]["duplicates"] == 1
        assert wrong_at(server.url) == []
        # The file came along, and ids go on where they were.
        results = site.get("/api/batches/1/results.csv").body.decode("utf-8-sig")
        assert len(results.splitlines()) == EMAILS + 3
        assert site.upload(csv_of("a@x.de")).json["batchId"] == 3
        assert app.stop() == 0
    finally:
        server.release()


def test_the_way_to_ones_own_postgresql_of_an_older_version(backup_in_mid_batch, manage):
    with own.folder() as folder, own.postgres(folder) as postgres:
        done = manage("restore", "--json", str(backup_in_mid_batch), url=postgres.url)
        assert done.returncode == 0, done.stderr
        assert wrong_at(postgres.url) == []
        assert rows(postgres.url, "SELECT count(*) FROM email") == [(EMAILS + 2,)]
        again = manage("restore", str(backup_in_mid_batch), url=postgres.url)
        assert again.returncode == 1
        assert again.stderr.startswith("The database has 2 batches already. Restore into an empty")
        # And from there.
        back = backup_in_mid_batch.with_name("back.dump")
        assert manage("backup", str(back), url=postgres.url).returncode == 0
        assert own.PASSWORD not in done.stdout + done.stderr


@pytest.fixture
def over_tls():
    """Debian's PostgreSQL, that lets nobody in without TLS, and who idles in a transaction out."""
    with own.folder() as folder:
        certificates = Certificates(folder)
        if user := own.unprivileged():
            shutil.chown(certificates.pair, user)
        options = {f"ssl_{name}_file": certificates.pair for name in ("cert", "key")}
        with own.postgres(folder, ssl="on", **options) as postgres:
            query_at(
                postgres.url, "ALTER ROLE postgres SET idle_in_transaction_session_timeout = '50ms'"
            )
            postgres.url += f"?sslmode=verify-full&sslrootcert={certificates.authority}"
            yield postgres


def test_the_way_over_tls_and_back_with_the_password_in_the_environment(
    small_backup, manage, over_tls, tmp_path
):
    url = over_tls.url.replace(f":{own.PASSWORD_IN_URL}@", "@")
    password = {"PGPASSWORD": own.PASSWORD}
    bare = {**password, "PATH": str(tmp_path)}
    for verb, file in (("restore", small_backup), ("backup", tmp_path / "back")):
        refused = manage(verb, str(file), url=url, **bare)
        assert refused.returncode == 1
        assert "TLS" in refused.stderr
        assert "Install postgresql-client" in refused.stderr
        done = manage(verb, str(file), url=url, **password)
        assert done.returncode == 0, done.stderr
    assert wrong_at(over_tls.url) == []


@contextmanager
def database_of_its_own(servers, name):
    """An empty database beside that of the tests."""
    connection = psycopg2.connect(servers.database_url)
    connection.autocommit = True
    cursor = connection.cursor()
    cursor.execute(f"DROP DATABASE IF EXISTS {name}")
    cursor.execute(f"CREATE DATABASE {name}")
    yield servers.database_url.replace("/email_batch?", f"/{name}?")
    cursor.execute(f"DROP DATABASE {name} WITH (FORCE)")
    connection.close()


@pytest.fixture
def other(servers):
    with database_of_its_own(servers, "other") as url:
        yield url


@pytest.fixture
def small_backup(servers, database, manage, tmp_path):
    store("a@x.de", "b")
    path = tmp_path / "b.dump"
    assert manage("backup", str(path), url=servers.database_url).returncode == 0
    return path


def test_a_file_that_is_there_is_replaced_only_if_that_is_said(small_backup, servers, manage):
    before = small_backup.read_bytes()
    done = manage("backup", str(small_backup), url=servers.database_url)
    assert done.returncode == 1
    assert "is there already; name another file, or say --force" in done.stderr
    assert small_backup.read_bytes() == before
    assert manage("backup", "--force", str(small_backup), url=servers.database_url).returncode == 0


def test_a_backup_that_is_killed_or_finds_no_folder_leaves_no_file(
    servers, database, manage, tmp_path, elsewhere
):
    store("a@x.de")
    target = tmp_path / "b.dump"
    elsewhere.execute("BEGIN; LOCK TABLE batch")  # which it waits for
    config = write_config(tmp_path)
    killed = Process(
        "manage.py", "--config", str(config), "backup", str(target), **servers.environment
    )
    eventually(lambda: query("SELECT 1 FROM pg_locks WHERE NOT granted"))
    killed.stop(signal.SIGKILL)
    elsewhere.execute("COMMIT")
    assert not target.exists()
    assert manage("backup", str(target), url=servers.database_url).returncode == 0
    assert sorted(path.name for path in tmp_path.glob("b.dump*")) == ["b.dump"]
    done = manage("backup", str(tmp_path / "nowhere/b"), url=servers.database_url)
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert "No such file or directory" in done.stderr


@pytest.fixture
def begin(servers, tmp_path):
    """Begin a verb; it is ended after the test."""
    config = write_config(tmp_path)
    begun = []

    def start(*arguments, **environment):
        process = Process(
            "manage.py",
            "--config",
            str(config),
            *arguments,
            **{**servers.environment, **environment},
        )
        begun.append(process)
        return process

    yield start
    for process in begun:
        process.stop(signal.SIGKILL)


def waiting(number):
    """Whether so many sessions wait for somebody's lock."""
    return len(query("SELECT FROM pg_locks WHERE NOT granted")) == number


def test_a_backup_that_is_told_to_end_tidies_up(database, begin, elsewhere, tmp_path):
    store("a@x.de")
    elsewhere.execute("BEGIN; LOCK TABLE email IN ACCESS EXCLUSIVE MODE")
    asked = begin("backup", str(tmp_path / "b.dump"))
    eventually(lambda: waiting(1))
    assert [path.name for path in tmp_path.glob("b.dump*")] == ["b.dump.partial"]
    assert asked.stop() == 128 + signal.SIGTERM
    assert list(tmp_path.glob("b.dump*")) == []
    elsewhere.execute("COMMIT")
    name = "email-batch backup"
    eventually(lambda: not query("SELECT FROM pg_stat_activity WHERE application_name = %s", name))


def test_of_two_backups_to_a_file_one_makes_it(
    servers, database, begin, manage, elsewhere, other, tmp_path
):
    store("a@x.de")
    target = tmp_path / "b.dump"
    elsewhere.execute("BEGIN; LOCK TABLE email IN ACCESS EXCLUSIVE MODE")
    first = begin("backup", str(target))
    eventually(lambda: waiting(1))
    second = begin("backup", str(target))
    eventually(lambda: waiting(2))
    elsewhere.execute("COMMIT")
    assert (first.wait(), second.wait()) == (1, 0)
    assert first.output == f"Another backup to {target} began meanwhile, and goes on."
    assert [path.name for path in tmp_path.glob("b.dump*")] == ["b.dump"]
    assert manage("restore", str(target), url=other).returncode == 0


def test_a_backup_to_standard_output_is_whole_and_what_is_said_of_it_is_aside(
    servers, database, tmp_path, manage, other
):
    store("a@x.de", "b")
    config = write_config(tmp_path)

    def backed_up(output):
        return subprocess.run(
            [sys.executable, "manage.py", "--config", str(config), "backup", "--json", "-"],
            cwd=ROOT,
            env={**os.environ, **servers.environment},
            stdout=output,
            stderr=subprocess.PIPE,
            timeout=60,
            check=False,
        )

    done = backed_up(subprocess.PIPE)
    said = json.loads(done.stderr)
    assert said.pop("seconds") >= 0
    contents = {"batches": 1, "emails": 2, "schemaVersion": NEWEST}
    assert said == {**contents, "file": "-", "bytes": len(done.stdout)}
    (tmp_path / "b.dump").write_bytes(done.stdout)
    assert manage("restore", str(tmp_path / "b.dump"), url=other).returncode == 0
    assert rows(other, "SELECT count(*) FROM email") == [(2,)]
    terminal, ours = os.openpty()
    try:
        refused = backed_up(ours)
    finally:
        os.close(ours)
        os.close(terminal)
    assert refused.returncode == 1
    assert refused.stderr.startswith(b"A backup is nothing to read.")


def test_what_is_no_file_is_never_replaced(servers, database, manage, tmp_path):
    os.mkfifo(tmp_path / "pipe")
    done = manage("backup", "--force", str(tmp_path / "pipe"), url=servers.database_url)
    assert done.returncode == 1
    assert done.stderr.endswith("pipe is no file that could be replaced; name another.\n")
    assert (tmp_path / "pipe").is_fifo()


def test_who_starts_during_a_restore_waits_for_it(small_backup, begin, run, other, tmp_path):
    config = write_config(tmp_path, server__port=0)
    with closing(psycopg2.connect(other)) as holder:
        cursor = holder.cursor()
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", (schema.LOCK,))  # as who makes tables
        restore = begin("restore", str(small_backup), DATABASE_URL=other)
        eventually(lambda: waiting(1))
        app = run("app.py", "--config", str(config), DATABASE_URL=other, REDIS_URL="unix:///nobody")
        eventually(lambda: waiting(2))
        holder.rollback()
        assert restore.wait() == 0
        batch = eventually(lambda: app.site().get("/api/batches/1").json)
        assert batch["totalEmails"] == 2


def test_what_is_no_backup_is_one_sentence_and_changes_nothing(
    small_backup, other, manage, tmp_path
):
    whole = small_backup.read_bytes()
    for name, content in (
        ("garbage", b"no backup\n" * 100),
        ("empty", b""),
        ("cut", whole[: len(whole) // 2]),
        ("cut within", whole[:200] + backups._END),
        ("cut at the end", whole[:-1]),
        ("another's", b"PGDMP" + backups._END),
    ):
        path = tmp_path / name
        path.write_bytes(content)
        done = manage("restore", str(path), url=other)
        assert done.returncode == 1, name
        assert done.stderr.count("\n") == 1, done.stderr
        assert rows(other, "SELECT to_regclass('batch')") == [(None,)]
    missing = manage("restore", str(tmp_path / "missing"), url=other)
    assert missing.returncode == 1
    assert "missing" in missing.stderr
    # The same database takes the whole one.
    assert manage("restore", str(small_backup), url=other).returncode == 0
    assert rows(other, "SELECT count(*) FROM email") == [(2,)]


def test_nothing_is_restored_under_an_app_that_runs(small_backup, other, manage, run, tmp_path):
    folder = tmp_path / "app"
    folder.mkdir()
    config = write_config(folder, server__port=0)
    app = run("app.py", "--config", str(config), DATABASE_URL=other, REDIS_URL="unix:///nobody")
    app.site().get("/api/health")
    done = manage("restore", str(small_backup), url=other)
    assert done.returncode == 1
    assert done.stderr == (
        "Others are connected to the database: email-batch app. Stop app and workers; a PgBouncer"
        " may keep connections of theirs.\n"
    )
    assert app.stop() == 0
    # The tables that the app made are empty, and make room.
    assert manage("restore", str(small_backup), url=other).returncode == 0


def test_a_backup_of_a_newer_schema_is_refused_and_an_older_one_brought_up(
    servers, database, manage, tmp_path, other
):
    store("a@x.de")
    query("INSERT INTO schema_version VALUES (%s) RETURNING 1", NEWEST + 1)
    newer, older = tmp_path / "newer.dump", tmp_path / "older.dump"
    try:
        backups_of(servers.database_url, newer)
    finally:
        query("DELETE FROM schema_version WHERE version > %s RETURNING 1", NEWEST)
    done = manage("restore", str(newer), url=other)
    assert done.returncode == 1
    assert done.stderr == (
        f"The backup's tables are of version {NEWEST + 1}, and this code knows them up to"
        f" {NEWEST}. Install the version that it is from.\n"
    )
    assert rows(other, "SELECT to_regclass('batch')") == [(None,)]
    with database_of_its_own(servers, "past") as past:
        query_at(
            past,
            (ROOT / "tests/schemas/0005_files.sql").read_text()
            + "; CREATE TABLE schema_version (version integer PRIMARY KEY,"
            " migrated_at timestamptz NOT NULL DEFAULT now());"
            " INSERT INTO schema_version SELECT generate_series(1, 5)",
        )
        backups_of(past, older)
    done = manage("restore", str(older), url=other)
    assert done.returncode == 0, done.stderr
    assert rows(other, "SELECT max(version) FROM schema_version") == [(NEWEST,)]
    assert wrong_at(other) == []


def backups_of(url, target):
    """A dump of whatever is there, as the verb would make it of its own version's tables."""
    (tools,) = pgtools.all_tools(url, embedded=True)
    tables = [f"--table={table}" for table in backups.TABLES]
    tools.output("pg_dump", "--format=custom", f"--file={target}", *tables)
    with target.open("ab") as file:
        file.write(backups._END)


def test_counts_that_are_wrong_in_a_backup_are_told(servers, database, manage, tmp_path, other):
    store("a@x.de", "b@x.de", "c@x.de")
    query("DELETE FROM email WHERE id = 2 RETURNING 1")
    path = tmp_path / "b.dump"
    assert manage("backup", str(path), url=servers.database_url).returncode == 0
    done = manage("restore", str(path), url=other)
    assert done.returncode == 1
    assert done.stderr == (
        "It is restored, but is not as it should be: Batch 1: its counts are not those of its"
        " emails.\n"
    )


def test_the_password_is_in_no_arguments():
    (*_, tools) = pgtools.all_tools("postgresql://a:p%40ss@h:1/db?sslmode=require", embedded=True)
    environment = tools._environment
    assert environment["PGPASSWORD"] == "p@ss"
    assert environment["PGSSLMODE"] == "require"
    process = tools.start("pg_dump", stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    assert "p@ss" not in " ".join(process.args)
    assert process.wait(20)


def test_a_server_newer_than_every_pg_dump_is_said(servers, database, monkeypatch, tmp_path):
    monkeypatch.setattr("database.server_version", lambda: 99)
    with pytest.raises(backups.BackupError, match="Install postgresql-client-99"):
        backups.backup(servers.database_url, tmp_path / "b", lambda size: None, embedded=True)
    assert list(tmp_path.iterdir()) == []
