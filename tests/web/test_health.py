import html
import json
import os
import re
import socket
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from batches.intake import Upload
from harness.batches import start, store
from harness.books import query
from harness.polling import eventually, in_threads
from harness.site import post
from postgres import schema
from postgres.database import pool
from relay.batch_queue import BatchQueue
from relay.presence import Ability, Presence, ThreadReport
from runtime import logs
from runtime.paths import ROOT
from runtime.settings import DEFAULT_PATH
from web import health
from web.server import connections


def announce(client, *threads, rate=0.0, lookups_off="", per_minute=None):
    here = Presence(client, "email-queue")
    here.announce(threads or [ThreadReport(1)], rate, [Ability("check", per_minute, lookups_off)])
    return here


def texts_on_page(site):
    """The texts of the header, once the page that the server renders has all of them."""

    def texts():
        texts = site.get("/api/health").json["texts"]
        page = re.sub("</?span>", "", site.get("/").body.decode()).replace("&#039;", "'")
        return texts if all(text in page for text in texts.values()) else None

    return eventually(texts)


def test_tells_of_the_rate_of_the_processor(site, client):
    announce(client, rate=10.2, per_minute=6000)
    assert site.get("/api/health").json["workers"][0]["perMinute"] == 6000
    assert texts_on_page(site)["rate"] == "10 emails/s, at most 6,000 a minute"


def test_tells_of_a_rate_of_one_email_a_second(site, client):
    announce(client, rate=1.9)
    assert texts_on_page(site)["rate"] == "1 email/s"


def test_tells_of_servers_workers_and_what_waits(site, client, queue):
    batch_id = store("a@x.de").batch_id
    query(
        "UPDATE batch SET created_at = created_at - interval '90 s' WHERE id = %s RETURNING 1",
        batch_id,
    )
    store("b@x.de")
    queue.enqueue(batch_id)
    announce(client, ThreadReport(1), ThreadReport(2, 7, 5001, 0.25), rate=1234.56)
    response = site.get("/api/health")
    assert response.status == 200
    assert response.headers["Cache-Control"] == "no-store"
    report = response.json
    (worker,) = report.pop("workers")
    assert 0 <= worker.pop("seenSecondsAgo") <= worker.pop("startedSecondsAgo") < 20
    here = {"host": socket.gethostname(), "pid": os.getpid()}
    assert worker == {
        **here,
        "threads": 2,
        "processors": ["check"],
        "rate": 1234.6,
        "lookupsOff": None,
        "hindrance": None,
        "perMinute": None,
        "activity": [
            {"thread": 1, "batchId": None, "firstId": None, "seconds": 0.0},
            {"thread": 2, "batchId": 7, "firstId": 5001, "seconds": 0.2},
        ],
    }
    assert 0 <= report["lastWorkerSeen"].pop("secondsAgo") < 20
    assert 90 <= report["oldestWaiting"].pop("seconds") < 110
    texts = report.pop("texts")
    assert report == {
        "status": "ok",
        "database": "ok",
        "redis": "ok",
        "workersAlive": 1,
        "workerThreads": 2,
        "lastWorkerSeen": here,
        "processors": [
            {
                "name": "check",
                "title": "Check addresses",
                "workers": 1,
                "problem": None,
                "command": None,
            }
        ],
        "queueDepth": 1,
        "oldestWaiting": {"batchId": batch_id, "filename": "list.csv"},
        "unfinishedBatches": 2,
        "version": "0.1.0",
        "schemaVersion": schema.NEWEST,
        "notice": None,
    }
    assert texts_on_page(site) == texts
    assert texts == {
        "level": "All systems normal",
        "workers": "1 worker, 2 threads",
        "processors": "",
        "rate": "1,234 emails/s",
        "queue": "1 in the queue",
        "oldest": f"oldest waiting: batch {batch_id} for 1 min",
        "database": "PostgreSQL ok",
        "redis": "Redis ok",
        "lookups": "",
        "lookupsOff": "",
        "text": "",
        "lastSeen": "",
        "command": "",
    }


def test_a_batch_under_way_is_unfinished_and_waits_no_more(site):
    batch_id = store("a@x.de").batch_id
    start(batch_id)
    report = site.get("/api/health").json
    assert (report["oldestWaiting"], report["unfinishedBatches"]) == (None, 1)
    assert texts_on_page(site)["oldest"] == "1 unfinished batch"
    query("UPDATE batch SET status = 'failed', completed_at = now() RETURNING 1")
    assert site.get("/api/health").json["unfinishedBatches"] == 0


def test_without_a_worker_it_says_how_to_start_one_and_when_one_was_seen(site, client):
    report = site.get("/api/health").json
    command = report["notice"].pop("command")
    assert command.endswith("--threads 4")
    assert report["notice"] == {
        "level": "error",
        "word": "Not working",
        "text": "No worker is running, so batches wait.",
    }
    assert (report["workersAlive"], report["workerThreads"], report["workers"]) == (0, 0, [])
    assert report["lastWorkerSeen"] is None
    texts = texts_on_page(site)
    assert (texts["level"], texts["workers"]) == ("Not working", "no worker")
    assert texts["command"] == command
    assert (texts["rate"], texts["lastSeen"]) == ("0 emails/s", "")

    announce(client).withdraw()
    stored = json.loads(client.get("email-queue:last-seen"))
    client.set("email-queue:last-seen", json.dumps(stored | {"seen": stored["seen"] - 200}))
    texts = texts_on_page(site)
    here = f"{socket.gethostname()}:{os.getpid()}"
    assert texts["lastSeen"] == f"One was last seen 3 min ago on {here}."
    assert 'data-level="error"' in site.get("/").body.decode()


def test_says_why_emails_wait_as_long_as_a_worker_says_so(site, client):
    here = announce(client)
    why = "No nameserver answers (192.0.2.53:53), so addresses wait until one does."
    here.announce([ThreadReport(1)], 0.0, [Ability("check", hindrance=why)])
    texts = texts_on_page(site)
    assert (texts["level"], texts["text"]) == ("Addresses wait", why)
    report = site.get("/api/health").json
    assert report["notice"] == {
        "level": "warning",
        "word": "Addresses wait",
        "text": why,
        "command": None,
    }
    assert report["workers"][0]["hindrance"] == why
    here.announce([ThreadReport(1)], 0.0)
    assert texts_on_page(site)["level"] == "All systems normal"
    assert site.get("/api/health").json["notice"] is None


def test_says_that_workers_look_no_domain_up_and_why(site, client):
    announce(client, lookups_off="the resolver doesn't answer (dns_timeout)")
    texts = texts_on_page(site)
    assert (texts["level"], texts["lookups"]) == ("DNS lookups off", "DNS lookups off")
    assert texts["lookupsOff"] == (
        "Workers don't look domains up in the DNS, so an address at a domain that doesn't exist"
        " comes out ok. Why: the resolver doesn't answer (dns_timeout). To change that, see [check]"
        " in config.ini, and restart the workers."
    )
    report = site.get("/api/health").json
    assert report["workers"][0]["lookupsOff"] == "the resolver doesn't answer (dns_timeout)"
    assert report["notice"] is None
    other = Presence(client, "email-queue")
    other._key += "0"
    other.announce([ThreadReport(1)], 0.0)
    assert texts_on_page(site)["lookupsOff"].startswith("Some workers don't look domains up")
    other.announce([ThreadReport(1)], 0.0, [Ability("crm")])
    assert texts_on_page(site)["lookupsOff"].startswith("Workers don't look domains up")
    announce(client)
    assert texts_on_page(site)["level"] == "All systems normal"
    assert 'id="lookups-off"' not in site.get("/").body.decode()


@pytest.mark.parametrize(
    ("executable", "config", "notify", "command"),
    [
        (ROOT / ".venv/bin/python", DEFAULT_PATH, "", ".venv/bin/python worker.py --threads 4"),
        ("/usr/bin/python3", DEFAULT_PATH, "", "python worker.py --threads 4"),
        ("/usr/bin/python3", Path("/etc/a b.ini"), "",
         "python worker.py --config '/etc/a b.ini' --threads 4"),
        ("/usr/bin/python3", Path("/etc/a.ini"), "/run/n", "systemctl start email-batch-worker@1"),
    ],
)  # fmt: skip
def test_the_command_for_a_worker_is_that_of_the_installation(
    monkeypatch, executable, config, notify, command
):
    monkeypatch.setattr(sys, "executable", str(executable))
    monkeypatch.setenv("NOTIFY_SOCKET", notify)
    assert health.worker_command(config) == command


def test_without_redis_it_is_degraded(serve, no_redis):
    store("a@x.de")
    site = serve(no_redis)
    response = site.get("/api/health")
    assert response.status == 200
    report = response.json
    assert (report["status"], report["database"]) == ("degraded", "ok")
    assert report["redis"] == "unreachable"
    assert report["unfinishedBatches"] == 1
    for name in ("workersAlive", "workerThreads", "workers", "lastWorkerSeen", "queueDepth"):
        assert report[name] is None
    assert report["notice"] == {
        "level": "warning",
        "word": "Updates are late",
        "text": "Redis can't be reached. Uploads are processed, but updates arrive late.",
        "command": None,
    }
    texts = texts_on_page(site)
    assert (texts["level"], texts["workers"]) == ("Updates are late", "workers unknown")
    assert (texts["rate"], texts["queue"]) == ("rate unknown", "queue unknown")
    assert 'data-level="warning"' in site.get("/").body.decode()


def test_without_the_database_it_is_unavailable(site, client, monkeypatch, tmp_path):
    announce(client)
    pool.close_idle()
    # Where the next connection goes: to nobody.
    monkeypatch.setitem(pool.connect_params, "host", str(tmp_path))
    response = site.get("/api/health")
    assert response.status == 503
    assert response.headers["Retry-After"]
    assert response.headers["Content-Type"] == "application/json"
    report = response.json
    assert (report["status"], report["database"]) == ("degraded", "unreachable")
    assert (report["redis"], report["workersAlive"]) == ("ok", 1)
    assert report["oldestWaiting"] is report["unfinishedBatches"] is None
    assert report["notice"] == {
        "level": "error",
        "word": "Not working",
        "text": "The database can't be reached. Nothing is processed until it is back.",
        "command": None,
    }
    assert report["texts"]["oldest"] == "waiting unknown"


def test_the_loss_of_the_database_is_the_worse_one(serve, no_redis, monkeypatch, tmp_path):
    site = serve(no_redis)
    pool.close_idle()
    monkeypatch.setitem(pool.connect_params, "host", str(tmp_path))
    report = site.get("/api/health").json
    assert (report["database"], report["redis"]) == ("unreachable", "unreachable")
    assert report["notice"]["level"] == "error"


def test_a_page_has_the_texts_for_a_server_that_is_away(site):
    silent = json.loads(health.SILENT)
    assert silent["notice"]["level"] == "error"
    assert list(silent["texts"].values()) == [
        *("Not working", "workers unknown", "", "rate unknown", "queue unknown", "waiting unknown"),
        *("PostgreSQL unknown", "Redis unknown", "", "", silent["notice"]["text"], "", ""),
    ]
    page = html.unescape(site.get("/").body.decode())
    assert f'data-silent="{health.SILENT}"' in page


def test_those_who_look_on_share_a_report_for_a_while(
    database, doorbell, client, make_settings, monkeypatch
):
    postgres = logs.Outage("postgres", logs.Logger("tests"))
    parts = health.Health(doorbell, make_settings(), postgres)
    first, second = in_threads(parts.recent, parts.recent)
    assert first is second is parts.recent()
    announce(client)
    assert parts.recent()["workersAlive"] == 0
    monkeypatch.setattr(health, "RECENT_SECONDS", 0.0)
    parts._recent_until = 0.0
    assert parts.recent()["workersAlive"] == 1


def test_requests_that_arrived_before_the_servers_were_asked_share_the_report(
    site, client, monkeypatch
):
    arrived = time.monotonic()
    assert site.get("/api/health").json["workersAlive"] == 0
    announce(client)
    with monkeypatch.context() as patch:
        patch.setattr(connections, "time", SimpleNamespace(monotonic=lambda: arrived))
        assert site.get("/api/health").json["workersAlive"] == 0
    assert site.get("/api/health").json["workersAlive"] == 1


def test_an_error_that_nobody_foresaw_lets_nobody_have_an_older_report(
    database, doorbell, make_settings, monkeypatch
):
    parts = health.Health(doorbell, make_settings(), logs.Outage("postgres", logs.Logger("tests")))
    parts.report()
    monkeypatch.setattr(health.queries, "backlog", lambda unnamed: 1 / 0)
    earliest = time.monotonic()  # of a request that waits while another one meets the error
    for _ in range(2):
        with pytest.raises(ZeroDivisionError):
            parts._since(earliest)


@pytest.mark.parametrize(
    ("only", "problem"), [("check", None), ("staff:it", "No worker has staff")]
)
def test_a_worker_with_another_only_processor_does_batches_of_the_check(
    serve, client, only, problem
):
    """They name none; those for a processor of one's own do."""
    site = serve(worker__processor=only)
    Presence(client, "email-queue").announce([ThreadReport(1)], 0.0, [Ability("other")])
    (said,) = site.get("/api/health").json["processors"]
    assert (said["workers"], said["problem"]) == (
        0 if problem else 1,
        problem and f"{problem}; start one with",
    )


def test_says_which_processor_no_worker_has_and_warns_only_if_a_batch_waits_for_it(serve, client):
    offered = {"processors__crm": "crm:add Add to our CRM", "processors__bad": "bad:do"}
    site = serve(**offered)
    why = "No module named 'bad'"
    error = f"the processor 'bad:do' can't be loaded: {why}"
    Presence(client, "email-queue").announce(
        [ThreadReport(1)], 0.0, [Ability("check"), Ability("bad", error=error)]
    )
    report = site.get("/api/health").json
    crm, bad, check = report["processors"]
    assert crm.pop("command").endswith(" --processors crm")
    assert crm == {
        "name": "crm",
        "title": "Add to our CRM",
        "workers": 0,
        "problem": "No worker has crm; start one with",
    }
    assert (bad["problem"], bad["command"]) == (f"bad can't be loaded: {why}", None)
    assert (check["workers"], check["problem"]) == (1, None)
    assert report["workers"][0]["processors"] == ["check"]
    assert report["notice"] is None
    assert report["texts"]["processors"].splitlines() == [
        "Add to our CRM: no worker",
        f"bad can't be loaded: {why}",
        "Check addresses: 1 worker",
    ]
    store("a@x.de", upload=Upload(processor="crm"))
    report = site.get("/api/health").json
    assert report["notice"]["level"] == "warning"
    assert report["notice"]["text"] == "Batches wait, because no worker has crm."
    assert report["notice"]["command"].endswith(" --processors crm")
    assert report["texts"]["level"] == "Batches wait"
    store("a@x.de", upload=Upload(processor="gone"))
    assert site.get("/api/health").json["processors"][3]["problem"] == (
        "config.ini doesn't name gone: give it a line in [processors] again."
    )


def test_the_only_processor_of_a_worker_does_what_names_none_whatever_it_is_called(site, client):
    store("a@x.de")
    Presence(client, "email-queue").announce([ThreadReport(1)], 0.0, [Ability("own")])
    report = site.get("/api/health").json
    (check,) = report["processors"]
    assert (check["workers"], check["problem"], report["notice"]) == (1, None, None)
    assert report["workers"][0]["processors"] == ["own"]


def test_a_cancelled_batch_that_no_worker_takes_is_not_in_the_queue(serve, client):
    site = serve(processors__crm="crm:add")
    batch_id = store("a@x.de", upload=Upload(processor="crm")).batch_id
    BatchQueue(client, "email-queue", "crm").enqueue("crm", batch_id)
    assert site.get("/api/health").json["texts"]["queue"] == "1 in the queue"
    assert post(site, f"/api/batches/{batch_id}/cancel").status == 200
    report = site.get("/api/health").json
    assert (report["queueDepth"], report["texts"]["queue"]) == (0, "queue empty")
