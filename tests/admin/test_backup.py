"""Backups as they are made: whole or not at all, and of nobody else's file."""

import json
import os
import signal
import subprocess
import sys

import pytest

from admin import backup, pg_tools
from harness.batches import store
from harness.books import query, rows, waiting
from harness.config import ROOT, write_config
from harness.polling import eventually
from postgres.schema import NEWEST


def test_a_file_that_is_there_is_replaced_only_if_that_is_said(small_backup, servers, manage):
    before = small_backup.read_bytes()
    done = manage("backup", str(small_backup), url=servers.database_url)
    assert done.returncode == 1
    assert "is there already; name another file, or say --force" in done.stderr
    assert small_backup.read_bytes() == before
    assert manage("backup", "--force", str(small_backup), url=servers.database_url).returncode == 0


def test_a_backup_that_is_killed_or_finds_no_folder_leaves_no_file(
    servers, database, manage, begin, tmp_path, elsewhere
):
    store("a@x.de")
    target = tmp_path / "b.dump"
    elsewhere.execute("BEGIN; LOCK TABLE batch")  # which it waits for
    killed = begin("backup", str(target))
    eventually(lambda: query("SELECT 1 FROM pg_locks WHERE NOT granted"))
    killed.stop(signal.SIGKILL)
    elsewhere.execute("COMMIT")
    assert not target.exists()
    assert manage("backup", str(target), url=servers.database_url).returncode == 0
    assert sorted(path.name for path in tmp_path.glob("b.dump*")) == ["b.dump"]
    done = manage("backup", str(tmp_path / "nowhere/b"), url=servers.database_url)
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert "No such file or directory" in done.stderr


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
    assert refused.stderr.startswith(b"A backup can't be read on a terminal.")


def test_what_is_no_file_is_never_replaced(servers, database, manage, tmp_path):
    os.mkfifo(tmp_path / "pipe")
    done = manage("backup", "--force", str(tmp_path / "pipe"), url=servers.database_url)
    assert done.returncode == 1
    assert done.stderr.endswith(
        "pipe is not a regular file, so it can't be replaced; name another.\n"
    )
    assert (tmp_path / "pipe").is_fifo()


def test_the_password_is_in_no_arguments():
    (*_, tools) = pg_tools.all_tools("postgresql://a:p%40ss@h:1/db?sslmode=require", bundled=True)
    environment = tools._environment
    assert environment["PGPASSWORD"] == "p@ss"
    assert environment["PGSSLMODE"] == "require"
    process = tools.start("pg_dump", stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    assert "p@ss" not in " ".join(process.args)
    assert process.wait(20)


def test_a_server_newer_than_every_pg_dump_is_said(servers, database, monkeypatch, tmp_path):
    monkeypatch.setattr("postgres.database.server_version", lambda: 99)
    with pytest.raises(backup.BackupError, match="Install postgresql-client-99"):
        backup.backup(servers.database_url, tmp_path / "b", lambda size: None, bundled=True)
    assert list(tmp_path.iterdir()) == []
