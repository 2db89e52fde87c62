"""/metrics: what app and workers count, read as Prometheus would."""

import json

import pytest

from harness.files import csv_of
from harness.polling import eventually
from harness.scrape import Numbers
from harness.site import PASSWORD, basic
from processors import Findings, answered, failed
from relay import trials
from relay.presence import Presence, ThreadReport
from runtime import metrics
from web.access import users
from work import turns


def test_what_workers_and_app_do_is_counted(processes):
    app = processes("app.py")
    site = app.site()
    before = Numbers(site)
    assert before.of("workers") == 0
    assert before.of("oldest_waiting_seconds") == 0
    addresses = ["info@example.com", "b", "c@example.com", "d@gmial.com"]
    site.upload(csv_of(*addresses, *(f"u{n}@example.com" for n in range(96))))
    waiting = Numbers(site)
    assert waiting.of("oldest_waiting_seconds") > 0
    assert waiting.of("queue_depth") == 1
    assert waiting.of("unfinished_batches") == 1
    assert waiting.of("uploaded_emails_total", process="app") == 100
    assert waiting.of("rings_total", process="app") == 1
    worker = processes("worker.py", "--threads", "2")
    eventually(lambda: site.get("/api/batches/1").json["status"] == "completed")
    now = eventually(
        lambda: (n := Numbers(site)).of("emails_total") == 100 and n.of("sweeps_total") >= 1 and n
    )
    (process,) = {s.labels["process"] for s in now.samples if s.name == "email_batch_emails_total"}
    assert process.endswith(f":{worker.pid}")
    outcomes = {
        (s.labels["verdict"], s.labels["reason"]): s.value
        for s in now.samples
        if s.name == "email_batch_emails_total"
    }
    assert outcomes == {
        ("ok", ""): 97,
        ("risky", "role_account"): 1,
        ("invalid", "no_at_sign"): 1,
        ("risky", "likely_typo"): 1,
    }
    assert now.of("turn_seconds_count", process=process) == 1
    assert 0 < now.of("turn_seconds_sum") < 20
    assert now.of("sweeps_total", process=process) == now.of("sweeps_total")
    assert now.of("database_connections", process=process) >= 1
    assert (now.of("workers"), now.of("postgres_up"), now.of("redis_up")) == (1, 1, 1)
    assert now.of("request_seconds_count", route="/api/upload", method="POST", status="2xx") == 1
    assert now.of("request_seconds_count", route="/metrics", status="2xx") >= 2
    assert now.of("stream_slots") == 100
    with site.stream() as stream:
        next(stream.lines())
        assert Numbers(site).of("streams", process="app") == 1
    eventually(lambda: Numbers(site).of("streams", process="app") == 0)


def test_what_a_worker_asks_the_dns_is_counted_for_each_nameserver(processes, nameserver):
    nameserver.mx("found.example.net")
    nameserver.nothing("nothing.example.net")
    nameserver.code("error.example.net", "SERVFAIL")
    nameserver.mx("large.example.net", "mx.found.example.net")
    nameserver.lie("large.example.net", "truncated")
    nameserver.lie("silent.example.net", "silence")
    site = processes("app.py").site()
    # Named twice, and a second one that is not there.
    nameservers = f"{nameserver.address} {nameserver.address} 127.0.0.1:1"
    told = {"check__dns": "on", "check__nameservers": nameservers, "check__timeout_seconds": 0.2}
    worker = processes("worker.py", "--threads", "1", **told)
    kinds = ("found", "nothing", "error", "large", "silent", "missing")
    site.upload(csv_of(*(f"a@{kind}.example.net" for kind in kinds)))

    def scraped():
        numbers = Numbers(site)
        asked = sum(nameserver.asked.values()) - nameserver.by_tcp["large.example.net"]
        told = numbers.of("dns_queries_total", nameserver=nameserver.address)
        return (
            told == asked and numbers.of("put_off_emails_total", reason="dns_timeout") and numbers
        )

    now = eventually(scraped)

    def answers(kind):
        return now.of("dns_answers_total", nameserver=nameserver.address, answer=kind)

    # The probe has asked for two others, each with a mail server, and for one that doesn't exist.
    assert (answers("found"), answers("no_domain"), answers("truncated")) == (6, 2, 1)
    assert answers("no_data") == 3  # MX, A and AAAA
    assert answers("error") >= 1
    assert now.of("dns_late_queries_total", nameserver=nameserver.address) >= 1
    assert now.of("dns_queries_total", nameserver="127.0.0.1:1") >= 0
    assert 8 <= now.of("dns_window", nameserver=nameserver.address) <= 4000
    assert 20 <= now.of("dns_rate", nameserver=nameserver.address) <= 100_000
    for name in ("queries_under_way", "open_questions", "lost_queries_total"):
        assert now.of(f"dns_{name}") >= 0, name
    assert now.of("dns_unusual_answers_total", nameserver=nameserver.address) == 0
    addresses = {s.labels["nameserver"] for s in now.samples if "nameserver" in s.labels}
    assert addresses == {nameserver.address, "127.0.0.1:1"}
    assert worker.stop() == 0


def test_without_redis_or_postgresql_the_rest_is_told(serve, no_redis, tmp_path):
    numbers = Numbers(serve(no_redis))
    assert (numbers.of("redis_up"), numbers.of("postgres_up")) == (0, 1)
    assert numbers.of("workers") is None
    assert numbers.of("queue_depth") is None
    assert numbers.of("unfinished_batches") == 0


def test_it_is_for_those_only_who_may_come_in(serve, tmp_path):
    users.add(tmp_path / "users", "prometheus", PASSWORD)
    site = serve()
    assert site.get("/metrics").status == 401
    assert site.get("/metrics", Authorization=basic("prometheus", PASSWORD)).status == 200


@pytest.mark.parametrize(
    "told",
    [
        7,
        {"a": 1},
        [["email_batch_sweeps_total", {}]],
        [["email_batch_sweeps_total", {}, "1"]],
        [["email_batch_sweeps_total", {}, float("nan")]],
        [["email_batch_sweeps_total", {}, 10**400]],
        [["email_batch_sweeps_total", {"made up": "1"}, 1]],
        [["email_batch_sweeps_total", {"state": 7}, 1]],
        [["email_batch_sweeps_total", {"state": "x" * 101}, 1]],
        [["email_batch_sweeps_total", {"state": "\ud800"}, 1]],
        [[7, {}, 1]],
        [["email_batch_sweeps_total", 7, 1]],
    ],
)
def test_a_worker_that_tells_nonsense_is_left_out(site, client, told):
    Presence(client, "email-queue").announce([ThreadReport(1)], 0.0)
    assert Numbers(site).of("workers") == 1
    (key,) = client.keys("email-queue:worker:*")
    client.set(key, json.dumps(json.loads(client.get(key)) | {"metrics": told}))
    numbers = Numbers(site)
    assert numbers.of("workers") == 0
    assert numbers.of("sweeps_total", process="app") is not None


def test_numbers_of_names_that_are_not_ours_are_not_shown(site, client):
    Presence(client, "email-queue").announce([ThreadReport(1)], 0.0)
    (key,) = client.keys("email-queue:worker:*")
    told = [
        ["made_up", {}, 1],
        ["email_batch_sweeps", {}, 1],
        ["email_batch_sweeps_total", {"state": 'a"b\n\\'}, 3],
    ]
    client.set(key, json.dumps(json.loads(client.get(key)) | {"metrics": told}))
    numbers = Numbers(site)
    assert not [sample for sample in numbers.samples if sample.name == "made_up"]
    assert numbers.of("sweeps_total", state='a"b\n\\') == 3


def test_a_worker_of_an_older_version_that_tells_no_numbers_is_alive_all_the_same(site, client):
    Presence(client, "email-queue").announce([ThreadReport(1)], 0.0)
    (key,) = client.keys("email-queue:worker:*")
    report = json.loads(client.get(key))
    del report["metrics"]
    client.set(key, json.dumps(report))
    assert Numbers(site).of("workers") == 1


def test_reasons_of_a_processors_own_are_counted_as_one():
    before = metrics.EMAILS.labels("invalid", "own")._value.get()
    findings = Findings(3, [(0, failed("not_staff")), (1, failed("too_new"))])
    turns.count_turn(findings, seconds=0.1)
    assert metrics.EMAILS.labels("invalid", "own")._value.get() == before + 2


def test_emails_with_answers_but_no_reason_are_ok():
    before = metrics.EMAILS.labels("ok", "")._value.get()
    findings = Findings(3, [(1, answered(number="7"))])
    turns.count_turn(findings, seconds=0.1)
    assert metrics.EMAILS.labels("ok", "")._value.get() == before + 3


def test_trials_of_redis_are_no_rings(doorbell):
    trials.prepare(doorbell, "batch:status:")
    before = metrics.RINGS._value.get()
    doorbell.check()
    assert not doorbell.away
    assert metrics.RINGS._value.get() == before
