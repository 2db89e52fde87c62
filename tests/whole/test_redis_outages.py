"""Redis stopped, killed, full, emptied and replaced under app and worker."""

import contextlib
import shlex
import threading
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import unquote

import pytest
from playwright.sync_api import expect

from harness.books import assert_books_balance
from harness.browsing import await_completed, field, is_live
from harness.files import csv_of
from harness.outages import TWO_THOUSAND, OwnServer, completed, outages, timed
from harness.polling import eventually
from harness.servers import temporary_folder
from relay.doorbell import Doorbell
from runtime import redis_client

own_redis = pytest.mark.parametrize("own", ["redis"], indirect=True)


def start_both(start):
    """Start the app and a worker, and wait until the worker is at work."""
    app, worker = start("app.py"), start("worker.py")
    worker.await_line("worker started")
    return app, worker


@own_redis
def test_a_redis_that_hangs_stops_nothing(start, own, database):
    app, worker = start_both(start)
    site = app.site()
    with own.stopped():
        response = site.upload(TWO_THOUSAND)
        assert (response.status, response.json["liveUpdates"]) == (201, False)
        with site.stream(response.json["batchId"]) as stream:
            assert list(stream.events())[-1]["status"] == "completed"
        # Those who come later don't wait for it again. A busy machine disturbs some of them.
        later = [timed(lambda: site.upload(TWO_THOUSAND)) for _ in range(3)]
        for response, _ in later:
            assert (response.status, response.json["liveUpdates"]) == (201, False)
        assert min(seconds for _, seconds in later) < redis_client.REDIS_TIMEOUT
        eventually(lambda: completed(site, response.json["batchId"]))
    eventually(lambda: outages(app, "redis") == outages(worker, "redis") == (1, 1))
    assert site.upload(TWO_THOUSAND).json["liveUpdates"]


@own_redis
def test_a_killed_redis_comes_back_empty_and_all_heals(start, own, database, many_turns):
    app, worker = start("app.py", **many_turns), start("worker.py", **many_turns)
    site = app.site()
    batch_id = site.upload(TWO_THOUSAND).json["batchId"]
    with site.stream(batch_id) as stream:
        events = []
        for event in stream.events():
            events.append(event)
            if len(events) == 3:
                with own.down():
                    eventually(lambda: all(outages(each, "redis")[0] for each in (app, worker)))
    assert events[-1]["status"] == "completed"
    counts = [event["processed"] for event in events]
    assert counts == sorted(counts)
    eventually(lambda: outages(app, "redis") == outages(worker, "redis") == (1, 1))
    assert site.upload(TWO_THOUSAND).json["liveUpdates"]


@pytest.fixture
def switched(own):
    """A path that leads to `own`, or to another server; `own.url` is this path meanwhile.

    Yields the URL of `own` itself, the other server, and lead_to(), which changes the path.
    """
    with temporary_folder() as folder:
        other, link = OwnServer("redis", folder), folder / "link.sock"

        def lead_to(server):
            new = folder / "new.sock"
            new.symlink_to(unquote(server.url.removeprefix("unix://")))
            new.replace(link)

        lead_to(own)
        first = own.url
        own.url = f"unix://{link}"
        yield SimpleNamespace(first=first, other=other, lead_to=lead_to)
        own.url = first
        other.release()


@contextlib.contextmanager
def replica(url):
    """Make the server a replica, of a master that is away."""
    with contextlib.closing(Doorbell(url, "email-queue")) as redis:
        redis.client.replicaof("127.0.0.1", 1)
        yield
        redis.client.replicaof("NO", "ONE")


@own_redis
def test_a_redis_that_became_a_replica_is_left_and_its_successor_found(
    own, switched, start, database
):
    app, worker = start_both(start)
    site = app.site()
    assert eventually(lambda: site.get("/api/health").json["workersAlive"]) == 1
    with replica(switched.first):
        eventually(lambda: outages(app, "redis") == outages(worker, "redis") == (1, 0))
        report = eventually(lambda: (r := site.get("/api/health").json)["notice"] and r)
        assert "read only replica" in report["notice"]["text"]
        switched.lead_to(switched.other)
        eventually(lambda: outages(app, "redis") == outages(worker, "redis") == (1, 1))
        response = site.upload(TWO_THOUSAND)
        assert response.json["liveUpdates"]
        with site.stream(response.json["batchId"]) as stream:
            assert list(stream.events())[-1]["status"] == "completed"
    with replica(switched.other.url):
        eventually(lambda: outages(app, "redis") == outages(worker, "redis") == (2, 1))
    eventually(lambda: outages(app, "redis") == outages(worker, "redis") == (2, 2))
    assert site.upload(TWO_THOUSAND).json["liveUpdates"]


STALE, READ = "replica-serve-stale-data", "replica-read-only"
KILL_ALL = "CLIENT KILL TYPE normal SKIPME yes", "CLIENT KILL TYPE pubsub"
# A part of what Redis says; the commands that make it refuse; those by which it takes all again.
REFUSALS = {
    "NOREPLICAS": (["CONFIG SET min-replicas-to-write 1"], ["CONFIG SET min-replicas-to-write 0"]),
    "maxmemory": (["CONFIG SET maxmemory 1"], ["CONFIG SET maxmemory 0"]),
    "RDB snapshots": (["CONFIG SET save '3600 99'", "BGSAVE"], ["CONFIG SET save ''"]),
    "MASTER is down": (
        [f"CONFIG SET {STALE} no", f"CONFIG SET {READ} no", "REPLICAOF 127.0.0.1 1"],
        ["REPLICAOF NO ONE", f"CONFIG SET {STALE} yes", f"CONFIG SET {READ} yes"],
    ),
    "authenticat": (
        ["CONFIG SET requirepass secret", *KILL_ALL],
        ["CONFIG SET requirepass ''"],
    ),
}


@own_redis
def test_a_redis_that_refuses_is_one_outage_each_time_and_told_as_what_it_is(start, own, database):
    app, worker = start_both(start)
    site = app.site()
    batch_ids = []

    def upload():
        response = site.upload(TWO_THOUSAND)
        batch_ids.append(response.json["batchId"])
        return response.json["liveUpdates"]

    with contextlib.closing(Doorbell(own.url, "email-queue")) as admin:
        # A folder where BGSAVE writes its file, so that it fails.
        (Path(admin.client.config_get("dir")["dir"]) / "dump.rdb" / "full").mkdir(parents=True)
        for times, (said, (breaking, mending)) in enumerate(REFUSALS.items()):
            seen = [len(process.lines) for process in (app, worker)]
            for command in breaking:
                admin.client.execute_command(*shlex.split(command))
            upload()
            there = (times + 1, times)
            eventually(lambda: outages(app, "redis") == outages(worker, "redis") == there)  # noqa: B023
            assert not upload()
            with site.stream(batch_ids[-1]) as stream:
                assert list(stream.events())[-1]["status"] == "completed"
            eventually(lambda: said in (site.get("/api/health").json["notice"] or {})["text"])  # noqa: B023
            for command in mending:
                admin.client.execute_command(*shlex.split(command))
            back = (times + 1, times + 1)
            eventually(lambda: outages(app, "redis") == outages(worker, "redis") == back)  # noqa: B023
            assert upload()
            for process, before in zip((app, worker), seen, strict=True):
                lines = [line for line in process.lines[before:] if "server=redis" in line]
                assert len(lines) <= 3, lines  # lost, refused in another way, and back
    for batch_id in batch_ids:
        eventually(lambda: completed(site, batch_id))  # noqa: B023
    for process in (app, worker):
        assert not [line for line in process.lines if "Traceback" in line]


@own_redis
def test_a_redis_that_evicts_any_key_loses_nothing(start, own, database):
    with contextlib.closing(Doorbell(own.url, "email-queue")) as redis:
        redis.client.config_set("maxmemory-policy", "allkeys-lru")
        redis.client.config_set("maxmemory", redis.client.info()["used_memory"] + 500_000)
        app, _ = start_both(start)
        site = app.site()
        batch_ids = []
        for number in range(8):
            batch_ids.append(site.upload(TWO_THOUSAND).json["batchId"])
            for key in range(200):
                redis.client.set(f"other:{number}:{key}", "x" * 10_000)
        for batch_id in batch_ids:
            eventually(lambda: completed(site, batch_id), 60)  # noqa: B023
        assert redis.client.info()["evicted_keys"]
    eventually(lambda: outages(app, "redis")[0] == outages(app, "redis")[1])
    assert_books_balance()


def test_an_emptied_redis_is_rung_anew(processes, client, many_turns):
    app, worker = processes("app.py", **many_turns), processes("worker.py", **many_turns)
    site = app.site()
    worker.await_line("worker started")
    batch_ids = [site.upload(TWO_THOUSAND).json["batchId"] for _ in range(2)]
    flushing = threading.Event()

    def flush():
        while not flushing.wait(0.05):
            client.flushall()

    flusher = threading.Thread(target=flush)
    flusher.start()
    for batch_id in batch_ids:
        eventually(lambda: completed(site, batch_id), 60)  # noqa: B023
    flushing.set()
    flusher.join()
    assert outages(app, "redis") == outages(worker, "redis") == (0, 0)


@own_redis
def test_the_page_moves_on_while_redis_is_killed_and_back(page, start, own, database, slow):
    app = start("app.py")
    site = app.site()
    worker = start("worker.py", **slow)
    worker.await_line("worker started")
    content = csv_of(*(f"user{n}@example.com" for n in range(16_000)))
    batch_id = site.upload(content).json["batchId"]
    page.goto(f"{site.url}/batches/{batch_id}")

    def processed():
        return int(field(page, "processed").inner_text().replace(",", ""))

    is_live(page)
    own.kill()
    before = processed()
    eventually(lambda: processed() > before)
    eventually(lambda: outages(app, "redis") == (1, 1))  # it was started again
    with own.stopped():
        expect(field(page, "redis", "#health")).to_have_text("Redis unreachable")
        expect(page.locator("#notice")).to_contain_text("Redis can't be reached.")
        before = processed()
        eventually(lambda: processed() > before)
    expect(field(page, "redis", "#health")).to_have_text("Redis ok")
    worker.stop()
    start("worker.py")  # one that isn't slow
    await_completed(page)
