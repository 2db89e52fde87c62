"""Backups restored elsewhere, gone on with there, and refused where they must be."""

import re
import shutil
import stat
import sys
from contextlib import closing

import psycopg2
import pytest

from admin import backup, pg_tools
from batches import changes
from batches.intake import Upload
from harness import servers as own
from harness.batches import completed, store
from harness.books import execute_at, query, rows, snapshot, waiting, wrong_at
from harness.config import ROOT, write_config
from harness.files import csv_of
from harness.polling import eventually
from harness.processes import run_to_end
from harness.servers import database_of_its_own
from harness.tls import Certificates
from postgres import schema
from postgres.database import session
from postgres.schema import NEWEST
from servers.keeper import BundledServer

EMAILS = 10_000


@pytest.fixture
def empty():
    """A folder for bundled servers that were never started."""
    with own.temporary_folder() as folder:
        yield folder


@pytest.fixture
def backup_in_mid_batch(servers, processes, manage, slow, tmp_path):
    """A backup of a batch of which a worker has done a part, and goes on."""
    # The batch names no processor, so the check processes it where it is restored.
    site = processes("app.py").site()
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
    server = BundledServer("postgres", empty / "var")
    try:
        assert wrong_at(server.url) == []
        ((processed, status),) = rows(
            server.url, "SELECT processed_count, status FROM batch WHERE id = 1"
        )
        assert 0 < processed < EMAILS
        assert status == "processing"
        config = write_config(empty, server__port=0)
        app = run("app.py", "--config", str(config))
        worker = run("worker.py", "--config", str(config))
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
        # Before their folder goes.
        assert (app.stop(), worker.stop()) == (0, 0)
    finally:
        server.release()


def test_the_way_to_ones_own_postgresql_of_an_older_version(backup_in_mid_batch, manage):
    with own.temporary_folder() as folder, own.postgres(folder) as postgres:
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
    with own.temporary_folder() as folder:
        certificates = Certificates(folder)
        if user := own.unprivileged():
            shutil.chown(certificates.pair, user)
        options = {f"ssl_{name}_file": certificates.pair for name in ("cert", "key")}
        with own.postgres(folder, ssl="on", **options) as postgres:
            execute_at(
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
        ("cut within", whole[:200] + backup._END),
        ("cut at the end", whole[:-1]),
        ("another's", b"PGDMP" + backup._END),
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


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ('NOTICE:  table "error" is not there, skipping\nERROR:  division by zero\nLINE 1: SELECT',
         "division by zero"),
        ('NOTICE:  table "error" is not there, skipping\nbackslash commands are restricted.\n',
         "backslash commands are restricted"),
        ("pg_dump: warning: an error may follow\npg_dump: error: no such table\n", "no such table"),
        ("server closed the connection\n\tThis probably means …\n", "server closed the connection"),
        ("NOTICE:  all is well\n", "NOTICE:  all is well"),
        ("", ""),
    ],
)  # fmt: skip
def test_of_what_a_tool_says_the_error_is_told(said, told):
    assert pg_tools.error_in(said.encode()) == told


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
        " may keep their connections open.\n"
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
        f"The backup's tables are of version {NEWEST + 1}, and this code knows versions up to"
        f" {NEWEST}. Install the version that made the backup.\n"
    )
    assert rows(other, "SELECT to_regclass('batch')") == [(None,)]
    with database_of_its_own(servers.database_url, "past") as past:
        execute_at(
            past,
            (ROOT / "tests/postgres/schemas/0005_files.sql").read_text()
            + "; CREATE TABLE schema_version (version integer PRIMARY KEY,"
            " migrated_at timestamptz NOT NULL DEFAULT now());"
            " INSERT INTO schema_version SELECT generate_series(1, 5)",
        )
        backups_of(past, older)
    done = restore_with(older, other, worker__processor="nowhere:at_all")
    assert done.returncode == 0, done.stderr
    assert rows(other, "SELECT max(version) FROM schema_version") == [(NEWEST,)]
    unfinished = "SELECT pause_reason FROM batch WHERE status IN ('pending', 'processing')"
    assert set(rows(other, unfinished)) == {(changes.RESTORED,)}
    assert wrong_at(other) == []


@pytest.mark.parametrize(
    ("processor", "paused"),
    [("sending:once_only", True), ("nowhere:at_all", True), ("sending:repeatable", False)],
)
def test_what_must_not_be_repeated_is_paused_after_a_restore(
    servers, database, manage, tmp_path, other, processor, paused
):
    store("a@x.de", "b@x.de")
    store("c@x.de")
    completed()
    store("d@x.de")
    query("INSERT INTO journal (batch_id, chunk, turn) VALUES (1, 1, nextval('turn')) RETURNING 1")
    with session():
        changes.pause(2, "alice")
    path = tmp_path / "b.dump"
    assert manage("backup", str(path), url=servers.database_url).returncode == 0
    (tmp_path / "sending.py").write_text(
        "from processors import once, one_by_one\n"
        "repeatable = one_by_one(lambda address: None)\n"
        "once_only = once(one_by_one(lambda address: None))\n"
    )
    done = restore_with(path, other, worker__processor=processor)
    assert done.returncode == 0, done.stderr
    why = changes.RESTORED if paused else None
    assert rows(other, "SELECT id, paused_by, pause_reason FROM batch ORDER BY id") == [
        (1, None, why),
        (2, "alice", None),
        (3, None, None),
        (4, None, why),
    ]
    assert ("2 unfinished batches are paused: 1, 4. " in done.stdout) is paused
    assert wrong_at(other) == []
    # A turn after the restore has a number above those in the journal.
    assert rows(other, "SELECT nextval('turn') > max(turn) FROM journal") == [(True,)]


def test_with_several_processors_only_what_must_not_be_repeated_is_paused_after_a_restore(
    servers, database, manage, tmp_path, other
):
    names = ("crm", "send", "gone", "check", None, "forgotten")
    for name in names:
        store("a@x.de", upload=Upload(processor=name))
    path = tmp_path / "b.dump"
    assert manage("backup", str(path), url=servers.database_url).returncode == 0
    (tmp_path / "mixed.py").write_text(
        "from processors import once, one_by_one\n"
        "add = one_by_one(lambda address: None)\n"
        "send = once(one_by_one(lambda address: None))\n"
    )
    # The first is the default; config.ini has `forgotten` no more, and `gone` can't be loaded.
    offered = {"crm": "mixed:add", "send": "mixed:send", "gone": "nowhere:at_all"}
    done = restore_with(path, other, **{f"processors__{name}": at for name, at in offered.items()})
    assert done.returncode == 0, done.stderr
    found = rows(other, "SELECT processor, pause_reason FROM batch ORDER BY id")
    paused = [name for name, why in found if why == changes.RESTORED]
    assert [name for name, _ in found] == [*names]
    assert paused == ["send", "gone", "forgotten"]
    assert "3 unfinished batches are paused: 2, 3, 6. " in done.stdout
    assert wrong_at(other) == []


def restore_with(path, url, **named):
    """Restore the backup with these processors, which may be in a module beside the backup."""
    config = write_config(path.parent, **named)
    return run_to_end(
        *(sys.executable, ROOT / "manage.py", "--config", config, "restore", path),
        DATABASE_URL=url,
        REDIS_URL="unix:///nobody",
    )


def backups_of(url, target):
    """A dump of whatever is there, as the verb would make it of its own version's tables."""
    (tools,) = pg_tools.all_tools(url, bundled=True)
    tables = [f"--table={table}" for table in backup.TABLES]
    tools.output("pg_dump", "--format=custom", f"--file={target}", *tables)
    with target.open("ab") as file:
        file.write(backup._END)


def test_counts_that_are_wrong_in_a_backup_are_told(servers, database, manage, tmp_path, other):
    store("a@x.de", "b@x.de", "c@x.de")
    query("DELETE FROM email WHERE id = 2 RETURNING 1")
    path = tmp_path / "b.dump"
    assert manage("backup", str(path), url=servers.database_url).returncode == 0
    done = manage("restore", str(path), url=other)
    assert done.returncode == 1
    assert done.stderr == (
        "The backup is restored, but something in it is wrong: Batch 1: its counts are not those"
        " of its emails.\n"
    )
