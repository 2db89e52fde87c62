import json
import os
import socket

import pytest

from harness.polling import eventually
from relay import presence
from relay.presence import Ability, Presence, ThreadReport, workers

IDLE = [ThreadReport(1), ThreadReport(2), ThreadReport(3)]


def test_a_worker_is_there_from_its_announcement_until_it_withdraws(client):
    assert workers(client, "email-queue") == presence.Workers([], None)
    here = Presence(client, "email-queue")
    abilities = (
        Ability("crm", 60),
        Ability("check", lookups_off="[check] dns = off"),
        Ability("x", error="?"),
    )
    busy = ThreadReport(2, batch_id=2**60 + 1, first_id=5001, seconds=0.25)
    for rate in (0.0, 1234.5):
        here.announce([ThreadReport(1), busy], rate, abilities)
    (worker,) = workers(client, "email-queue").alive
    assert (worker.host, worker.pid) == (socket.gethostname(), os.getpid())
    assert (worker.threads, worker.rate, worker.lookups_off) == (2, 1234.5, "[check] dns = off")
    assert worker.activity == (ThreadReport(1), busy)
    assert worker.processors == abilities
    assert worker.per_minute is None
    assert workers(client, "another-queue") == presence.Workers([], None)
    here.withdraw()
    assert workers(client, "email-queue").alive == []
    last = workers(client, "email-queue").last_seen
    assert (last.host, last.pid) == (worker.host, worker.pid)


def test_a_killed_worker_is_gone_when_its_key_expires_and_leaves_only_when_it_was_seen(client):
    Presence(client, "email-queue").announce(IDLE, 0.0)
    (key,) = client.keys("email-queue:worker:*")
    assert 0 < client.ttl(key) <= presence.EXPIRE_SECONDS
    client.pexpire(key, 0)
    roll = workers(client, "email-queue")
    assert roll.alive == []
    assert roll.last_seen.pid == os.getpid()
    assert client.keys("*") == ["email-queue:last-seen"]
    assert client.ttl("email-queue:last-seen") == -1


def test_times_are_of_the_clock_of_redis_and_outlast_its_emptying(client):
    here = Presence(client, "email-queue")
    before = client.time()
    here.announce(IDLE, 0.0)
    (key,) = client.keys("email-queue:worker:*")
    stored = json.loads(client.get(key))
    assert before[0] <= stored["since"] == stored["seen"] <= client.time()[0] + 1
    eventually(lambda: workers(client, "email-queue").alive[0].seen_ago > 1.0)
    client.flushall()
    assert workers(client, "email-queue") == presence.Workers([], None)
    here.announce(IDLE, 0.0)
    (worker,) = workers(client, "email-queue").alive
    assert worker.seen_ago < 1.0 < worker.started_ago
    assert json.loads(client.get(key))["since"] == stored["since"]


@pytest.mark.parametrize(
    "change",
    [
        {"host": 7},
        {"host": "\ud800"},
        {"pid": "x"},
        {"threads": None},
        {"lookupsOff": 1},
        {"hindrance": 1},
        {"perMinute": "many"},
        {"processors": None},
        {"processors": [{"perMinute": 1}]},
        {"processors": [{"name": "a", "error": 1}]},
        {"rate": float("nan")},
        {"rate": 10**400},
        {"since": 1e300},
        {"seen": []},
        {"activity": 3},
        {"activity": [{"thread": 1}]},
        {"activity": ["x"]},
    ],
)
def test_a_value_that_is_no_announcement_is_left_out(client, change):
    here = Presence(client, "email-queue")
    here.announce(IDLE, 0.0)
    (key,) = client.keys("email-queue:worker:*")
    spoilt = json.dumps(json.loads(client.get(key)) | change)
    for number, value in enumerate([spoilt, "", "7", "[1]", "{", "[" * 100_000, b"\xff\0"]):
        client.set(f"email-queue:worker:other:{number}", value)
        client.sadd("email-queue:workers", f"email-queue:worker:other:{number}")
        client.set("email-queue:last-seen", value)
        assert workers(client, "email-queue").last_seen is None
    client.sadd("email-queue:workers", b"\xff", "a-list")
    client.lpush("a-list", "x")
    assert [worker.pid for worker in workers(client, "email-queue").alive] == [os.getpid()]
    here.announce(IDLE, 0.0)
    assert workers(client, "email-queue").last_seen is not None


@pytest.mark.parametrize(("seconds", "alive"), [(3, 1), (3600, 0)])
def test_a_clock_that_is_set_back_shows_no_worker_for_long_that_is_gone(client, seconds, alive):
    here = Presence(client, "email-queue")
    here.announce(IDLE, 0.0)
    (key,) = client.keys("email-queue:worker:*")
    stored = json.loads(client.get(key))
    later = {name: stored[name] + seconds for name in ("seen", "since")}
    # Its time to live is of the clock as it was, too, and so as much longer.
    client.set(key, json.dumps(stored | later))
    found = workers(client, "email-queue").alive
    assert len(found) == alive
    assert all(worker.seen_ago >= 0 == worker.started_ago for worker in found)
    here.announce(IDLE, 0.0)
    assert len(workers(client, "email-queue").alive) == 1


def test_a_worker_of_an_earlier_version_has_the_default_processor(client):
    here = Presence(client, "email-queue")
    here.announce(IDLE, 0.0)
    (key,) = client.keys("email-queue:worker:*")
    stored = json.loads(client.get(key))
    del stored["processors"]
    client.set(key, json.dumps(stored | {"perMinute": 60, "hindrance": "why"}))
    (worker,) = workers(client, "email-queue").alive
    assert worker.processors == (Ability(None, 60, hindrance="why"),)
