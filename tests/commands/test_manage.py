"""manage.py as an administrator runs it, and what pages and workers hear of it."""

import getpass
import json
import re
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

import manage
from admin import verbs
from batches.intake import Upload
from harness.batches import completed, start, store, wait_for
from harness.books import query, snapshot
from harness.config import ROOT, write_config
from harness.polling import eventually
from harness.processes import run_to_end
from postgres.database import pool, session
from postgres.schema import NEWEST
from relay.presence import Ability, Presence, ThreadReport

BY = f"{getpass.getuser()} (manage.py)"


def test_status_tells_of_servers_workers_and_batches(run_manage, document, processes):
    store("a@x.de", "b")
    status, told = document("status")
    assert status == 0
    assert told["health"]["unfinishedBatches"] == 1
    assert told["health"]["schemaVersion"] == NEWEST
    assert [batch["filename"] for batch in told["batches"]] == ["list.csv"]
    said = run_manage("status").stdout
    assert re.search(r"No worker is running, so batches wait\. .*worker\.py .*--threads 4\n", said)
    assert "batch 1  pending  0 of 2 (0%), 0 invalid  list.csv" in said
    worker = processes("worker.py")
    worker.await_line("worker started")
    said = eventually(lambda: (found := run_manage("status").stdout).count("worker ") and found)
    assert re.search(rf"^worker \S+:{worker.pid}  4 threads  [\d,]+/s  ", said, re.M)
    assert "Why: [check] dns = off." in said
    eventually(lambda: snapshot(1).status == "completed")
    assert "batch 1  completed  2 of 2 (100%), 1 invalid" in run_manage("status").stdout


def test_status_shows_what_is_unfinished_however_old(document, run_manage):
    old = store("a@x.de").batch_id
    start(old)
    with session():  # it waits for a further round of its only email
        pool.execute_sql("UPDATE batch SET waiting = 1, next_at = now() + interval '1 hour'")
    others = [completed() for _ in range(verbs.SHOWN)]
    _, told = document("status")
    assert [batch["id"] for batch in told["batches"]] == [*reversed(others), old]
    assert re.search(
        r"\(0%\), 0 invalid  list\.csv  1 email has no answer yet; the next try is at .{8} UTC\n",
        run_manage("status").stdout,
    )


def test_status_says_what_workers_do(client, run_manage, database):
    def said():
        # Again each time: the command may start so slowly that the worker counts as gone.
        Presence(client, "email-queue").announce([ThreadReport(1, 7, 20_001, 0.3)], 1234.5)
        return run_manage("status").stdout

    line = "  1 thread  1,234/s  batch 7 from email 20,001 for 0.3 s\n"
    eventually(lambda: line in said(), 60)


def test_status_says_which_processors_workers_and_batches_have_if_there_are_several(
    servers, database, client, tmp_path
):
    config = write_config(tmp_path, processors__crm="nowhere:add", processors__send="nowhere:send")
    command = (sys.executable, ROOT / "manage.py", "--config", config, "status")
    abilities = [Ability("crm"), Ability("check"), Ability("send", error="no password")]

    def said():
        # Again each time: the command may start so slowly that the worker counts as gone.
        Presence(client, "email-queue").announce([ThreadReport(1)], 0.0, abilities)
        return run_to_end(*command, **servers.environment).stdout

    store("a@x.de", upload=Upload(processor="send"))
    store("a@x.de")
    eventually(lambda: "  1 thread  crm, check  0/s  nothing to do\n" in said(), 60)
    assert re.findall(r"batch (\d)  pending .* list.csv  (.*)", said()) == [
        ("2", "check"),
        ("1", "send"),
    ]


def test_status_without_postgresql_tells_of_the_rest(document, run_manage, tmp_path):
    away = {"DATABASE_URL": f"postgresql://x@/x?host={tmp_path}"}
    status, told = document("status", **away)
    assert status == 1
    assert (told["health"]["database"], told["health"]["redis"]) == ("unreachable", "ok")
    assert told["batches"] is None
    said = run_manage("status", **away).stdout
    assert said.startswith("PostgreSQL unreachable · Redis ok · ")
    assert said.endswith("\nmanage.py check says more.\n")


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


def test_a_batch_is_paused_and_resumed(document, run_manage):
    batch_id = store("a@x.de").batch_id
    assert run_manage("pause", str(batch_id)).stdout == f"Batch 1: Paused by {BY}.\n"
    assert f"0 invalid  list.csv  Paused by {BY}.\n" in run_manage("status").stdout
    status, told = document("pause", "1")
    assert (status, told["status"], told["paused"]["by"]) == (0, "pending", BY)
    assert run_manage("resume", "1").stdout == "Batch 1: Not paused; workers go on with it.\n"
    assert document("resume", "1") == (0, {"batchId": 1, "status": "pending", "paused": None})
    completed()
    refused = run_manage("pause", "2")
    assert (refused.returncode, refused.stdout) == (1, "")
    assert refused.stderr == "Batch 2 is completed and can't be paused any more.\n"


def test_a_batch_is_given_a_rate(document, run_manage):
    batch_id = store("a@x.de").batch_id
    said = run_manage("rate", str(batch_id), "600").stdout
    assert said == "Batch 1: at most 600 emails a minute.\n"
    assert "0 invalid  list.csv  at most 600 emails a minute\n" in run_manage("status").stdout
    told = {"batchId": 1, "status": "pending", "perMinute": None}
    assert document("rate", "1", "none") == (0, told)
    for wrong in ("0", "many", "", "1000001"):
        refused = run_manage("rate", "1", wrong)
        assert refused.returncode == 2
        assert "must be a whole number of emails from 1 to 1,000,000, or none" in refused.stderr


def test_whoever_does_not_want_to_wait_finishes_a_batch(document, run_manage):
    wait_for("a@x.de", "b@x.de")
    said = run_manage("finish", "1").stdout
    assert said == "2 emails of batch 1 waited, and became unknown.\n"
    status, told = document("finish", "1")
    assert (status, told) == (
        1,
        {"error": "Batch 1 is completed, so that no email of it waits."},
    )


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


def test_purge_leaves_out_what_somebody_retries_meanwhile(document, run_manage, elsewhere):
    retried, other = completed(), completed()
    query("UPDATE batch SET completed_at = now() - interval '2 days' RETURNING 1")
    elsewhere.execute("BEGIN; SELECT FROM batch WHERE id = %s FOR UPDATE", (retried,))
    with ThreadPoolExecutor() as pool:
        purge = pool.submit(document, "purge", "--older-than", "1")
        eventually(lambda: query("SELECT 1 FROM pg_locks WHERE NOT granted"))
        elsewhere.execute(
            "UPDATE batch SET status = 'pending', completed_at = NULL, started_at = NULL,"
            " processed_count = 0, failed_count = 0 WHERE id = %s; COMMIT",
            (retried,),
        )
        assert purge.result() == (0, {"deleted": [other], "emails": 10})
    assert (
        "0 batches that ended more than 1 day ago" in run_manage("purge", "--older-than=1").stdout
    )


def test_a_long_list_of_batches_is_cut():
    assert verbs._listed([]) == ""
    assert verbs._listed([1, 2]) == ": 1, 2"
    assert verbs._listed(list(range(1003))).endswith(", 18, 19 and 983 more")


def test_a_user_without_a_name_has_a_number(monkeypatch):
    for name in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("os.getuid", lambda: 54321)
    assert verbs._user() == "uid 54321"


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
    for verb in ("cancel", "pause", "resume", "finish"):
        assert document(verb, str(10**30)) == (1, {"error": f"There is no batch {10**30}."})
    assert document("cancel", "-1") == (1, {"error": "There is no batch -1."})


def test_without_postgresql_it_is_one_sentence(document, tmp_path):
    status, told = document("cancel", "1", DATABASE_URL=f"postgresql://x@/x?host={tmp_path}")
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


def test_help_has_a_sentence_for_each_verb(run_manage, capsys):
    said = run_manage("--help").stdout
    for verb in ("status", "retry", "cancel", "delete", "purge", "check", "backup", "restore"):
        assert re.search(rf"^    {verb} +\w+", said, re.M)
        with pytest.raises(SystemExit):
            manage._parser().parse_args([verb, "--help"])
        assert "--json" in capsys.readouterr().out


def test_progress_begins_with_the_first_megabyte():
    said = []
    tell = verbs._megabytes(said.append, "restored")
    for size in (0, 999_999, 1_000_000, 12_345_678_900):
        tell(size)
    assert said == ["1 MB restored", "12,346 MB restored"]


def test_progress_is_a_line_now_and_then_where_there_is_no_terminal(monkeypatch, capsys):
    monkeypatch.setattr(manage, "LINE_SECONDS", 0.0)
    meter = manage.Meter()
    meter("5 MB written")
    meter.close()
    assert capsys.readouterr().err == "5 MB written\n"
    monkeypatch.setattr(manage, "LINE_SECONDS", 60.0)
    meter = manage.Meter()
    meter("5 MB written")
    assert capsys.readouterr().err == ""
