"""manage.py as an administrator runs it, and what pages and workers hear of it."""

import getpass
import json
import os
import re
import subprocess
import sys

import pytest
from support import ROOT, eventually, query, snapshot, start, store, write_config
from test_models import completed

import manage
from schema import NEWEST


@pytest.fixture
def run_manage(servers, database, client, tmp_path):
    """Run a verb; the result, and its document if it was asked for as JSON."""

    def run(*arguments, **environment):
        config = write_config(tmp_path)
        return subprocess.run(
            [sys.executable, str(ROOT / "manage.py"), "--config", str(config), *arguments],
            env={**os.environ, **servers.environment, **environment},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    return run


@pytest.fixture
def document(run_manage):
    """Run a verb with --json; its exit status and document. Nothing else is on standard output."""

    def run(verb, *arguments, **environment):
        done = run_manage(verb, "--json", *arguments, **environment)
        return done.returncode, json.loads(done.stdout)

    return run


BY = f"{getpass.getuser()} (manage.py)"


def test_status_tells_of_servers_workers_and_batches(run_manage, document, processes):
    store("a@x.de", "b")
    status, told = document("status")
    assert status == 0
    assert told["health"]["unfinishedBatches"] == 1
    assert told["health"]["schemaVersion"] == NEWEST
    assert [batch["filename"] for batch in told["batches"]] == ["list.csv"]
    said = run_manage("status").stdout
    assert "No worker is running, so batches wait. python worker.py --threads 4" in said
    assert "batch 1  pending  0 of 2 (0%), 0 failed  list.csv" in said
    processes("worker.py").await_line("worker started")
    eventually(lambda: snapshot(1).status == "completed")
    assert "batch 1  completed  2 of 2 (100%), 1 failed" in run_manage("status").stdout


def test_status_without_redis_says_so(document, tmp_path):
    status, told = document("status", REDIS_URL=f"unix://{tmp_path}/nobody.sock")
    assert status == 1
    assert told["health"]["redis"] == "unreachable"


def test_a_retry_requeues_rings_and_is_seen(document, run_manage, client, queue):
    batch_id = completed()
    with client.pubsub() as messages:
        messages.psubscribe("batch:status:*")
        assert document("retry", str(batch_id), "too_long") == (
            0,
            {"batchId": batch_id, "requeued": 2, "status": "pending"},
        )
        told = eventually(lambda: [m for m in iter(messages.get_message, None) if m["data"] != 1])
        assert json.loads(told[0]["data"])["status"] == "pending"
    assert queue.dequeue(0.1) == batch_id
    assert query("SELECT kind, user_name, which, emails FROM action") == [
        ("retried", BY, "too_long", 2)
    ]
    again = run_manage("retry", str(batch_id), "failed")
    assert again.returncode == 1
    assert again.stderr == (
        f"Batch {batch_id} is pending, so nothing is requeued. Wait until it is completed.\n"
    )


def test_a_batch_is_cancelled_and_deleted(document, run_manage):
    batch_id = store("a@x.de", "b@x.de").batch_id
    start(batch_id)
    refused = run_manage("delete", str(batch_id))
    assert (refused.returncode, refused.stdout) == (1, "")
    assert refused.stderr == "Batch 1 is processing. Cancel it first, then delete it.\n"
    assert document("cancel", "1") == (
        0,
        {"batchId": 1, "status": "cancelled", "processedCount": 0, "totalEmails": 2},
    )
    said = run_manage("delete", "1").stdout
    assert said == "Batch 1 is deleted, with 2 emails and its file.\n"
    assert query("SELECT (SELECT count(*) FROM batch), (SELECT count(*) FROM email)") == [(0, 0)]
    assert query("SELECT kind, user_name FROM action ORDER BY id") == [
        ("cancelled", BY),
        ("deleted", BY),
    ]
    assert document("delete", "1") == (1, {"error": "There is no batch 1."})


def test_purge_deletes_what_ended_long_ago_and_a_dry_run_only_says_what(document, run_manage):
    old, new = completed(), completed()
    running = store("a@x.de").batch_id
    query(
        "UPDATE batch SET completed_at = now() - interval '31 days' WHERE id = %s RETURNING 1", old
    )
    assert document("purge", "--older-than", "30", "--dry-run") == (0, {"wouldDelete": [old]})
    assert document("purge", "--older-than", "30") == (0, {"deleted": [old], "emails": 10})
    assert query("SELECT id FROM batch ORDER BY id") == [(new,), (running,)]
    assert run_manage("purge", "--older-than", "30").stdout == (
        "0 batches that ended more than 30 days ago: deleted, with 0 emails.\n"
    )


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "the following arguments are required: VERB"),
        (["dance"], "invalid choice: 'dance'"),
        (["retry", "x", "failed"], "invalid int value: 'x'"),
        (["purge"], "--older-than"),
        (["purge", "--older-than", "-1"], "--older-than"),
        (["purge", "--older-than", "nan"], "--older-than"),
        (["cancel", "1", "--frobnicate"], "unrecognized arguments"),
    ],
)
def test_wrong_usage_is_said_and_status_2(run_manage, arguments, said):
    done = run_manage(*arguments)
    assert done.returncode == 2
    assert said in done.stderr
    assert done.stdout == ""


def test_a_reason_that_is_none_is_said(document):
    completed()
    assert document("retry", "1", "No!") == (
        1,
        {"error": "Say failed, unknown, or a reason's code such as no_at_sign."},
    )


def test_ids_beyond_any_are_no_batch(document):
    assert document("cancel", str(10**30)) == (1, {"error": f"There is no batch {10**30}."})
    assert document("cancel", "-1") == (1, {"error": "There is no batch -1."})


def test_without_postgresql_it_is_one_sentence(document, tmp_path):
    status, told = document("status", DATABASE_URL=f"postgresql://x@/x?host={tmp_path}")
    assert status == 1
    assert told["error"].startswith("PostgreSQL can't be reached: ")
    assert "\n" not in told["error"]


def test_a_database_of_another_version_is_not_touched(document):
    query("INSERT INTO schema_version VALUES (%s) RETURNING 1", NEWEST + 1)
    try:
        status, told = document("cancel", "1")
    finally:
        query("DELETE FROM schema_version WHERE version > %s RETURNING 1", NEWEST)
    assert status == 1
    assert told["error"].startswith(f"The database's tables are of version {NEWEST + 1}, and")


def test_help_has_a_sentence_for_each_verb(run_manage):
    said = run_manage("--help").stdout
    for verb in ("status", "retry", "cancel", "delete", "purge", "check", "backup", "restore"):
        assert re.search(rf"^    {verb} +\w+", said, re.M)
        assert "--json" in run_manage(verb, "--help").stdout


def test_progress_is_a_line_now_and_then_where_there_is_no_terminal(monkeypatch, capsys):
    monkeypatch.setattr(manage, "LINE_SECONDS", 0.0)
    meter = manage.Meter()
    meter("5 MB written")
    meter.end()
    assert capsys.readouterr().err == "5 MB written\n"
    monkeypatch.setattr(manage, "LINE_SECONDS", 60.0)
    meter = manage.Meter()
    meter("5 MB written")
    assert capsys.readouterr().err == ""
