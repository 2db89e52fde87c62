"""Server-Sent Events over real waitress."""

import threading
import time

import pytest

import models
from batches import commits
from harness.batches import claim_next, store
from harness.batches import start as start_batch
from harness.books import query
from harness.polling import eventually
from postgres.database import pool, session
from processors import Findings
from relay import hub as hub_module
from relay import publish as publish_module
from relay import rates
from relay.presence import Presence, ThreadReport
from web import health, streams
from web.access.sign_in import Access


def start(batch_id, doorbell=None):
    snapshot = start_batch(batch_id)
    if doorbell is not None:
        publish_module.publish(doorbell, "batch:status:", snapshot)
    return snapshot


def complete(batch_id, doorbell=None):
    with session(), pool.atomic():
        claim = claim_next(batch_id)
        snapshot = commits.commit_outcomes(claim, Findings(len(claim.ids)))
    if doorbell is not None:
        publish_module.publish(doorbell, "batch:status:", snapshot)
    return snapshot


@pytest.fixture
def often(monkeypatch):
    """An app that is made after this reads from PostgreSQL twenty times a second."""
    monkeypatch.setattr(hub_module, "REFRESH_SECONDS", 0.05)


def test_a_snapshot_comes_at_once_then_every_change_until_the_end(site, doorbell):
    batch_id = store("a@x.de", "b@x.de").batch_id
    with site.stream(batch_id) as stream:
        assert stream.status == 200
        headers = stream.response.headers
        assert headers["Content-Type"] == "text/event-stream; charset=utf-8"
        assert headers["Cache-Control"] == "no-store"
        assert headers["X-Accel-Buffering"] == "no"
        events = stream.events()
        assert next(events) == {
            "batchId": batch_id, "revision": 1, "status": "pending",
            "processed": 0, "failed": 0, "total": 2, "waiting": 0, "nextAt": None, "paused": None,
            "perMinute": None, "processor": None,
            "reasons": {}, "verdicts": {"ok": 0, "risky": 0, "unknown": 0, "invalid": 0},
            "rate": None, "secondsLeft": None,
        }  # fmt: skip
        start(batch_id, doorbell)
        assert next(events)["status"] == "processing"
        complete(batch_id, doorbell)
        last = next(events)
        assert (last["status"], last["processed"]) == ("completed", 2)
        assert list(events) == []


def test_old_news_is_not_streamed(site, doorbell):
    batch_id = store("a@x.de").batch_id
    with site.stream(batch_id) as stream:
        events = stream.events()
        next(events)
        first = start(batch_id, doorbell)
        assert next(events)["revision"] == 2
        publish_module.publish(doorbell, "batch:status:", first)
        complete(batch_id, doorbell)
        assert next(events)["revision"] == 3


def test_a_change_that_nobody_published_is_streamed_too(often, site, doorbell):
    batch_id = store("a@x.de").batch_id
    with site.stream(batch_id) as stream:
        events = stream.events()
        next(events)
        start(batch_id)
        complete(batch_id)
        assert list(events)[-1]["status"] == "completed"


def test_a_quiet_stream_shows_that_it_lives(site, monkeypatch):
    monkeypatch.setattr(streams, "HEARTBEAT_SECONDS", 0.2)
    monkeypatch.setattr(streams, "WAIT_SECONDS", 0.1)
    with site.stream(store("a@x.de").batch_id) as stream:
        lines = stream.lines()
        assert next(lines) == "retry: 2000"
        heartbeats = (line for line in lines if line.startswith(":"))
        assert [next(heartbeats), next(heartbeats)] == [": heartbeat"] * 2


def test_a_finished_batch_is_told_once_and_a_reconnect_gets_204(site, doorbell):
    batch_id = store("a@x.de").batch_id
    start(batch_id)
    complete(batch_id)
    with site.stream(batch_id) as stream:
        assert [event["status"] for event in stream.events()] == ["completed"]
    with site.stream(batch_id, Last_Event_ID="3") as stream:
        assert stream.status == 204
    # Who lost the connection before the end still hears of it.
    with site.stream(batch_id, Last_Event_ID="2") as stream:
        assert [event["revision"] for event in stream.events()] == [3]
    for nonsense in ("nonsense", "\xff"):
        with site.stream(batch_id, Last_Event_ID=nonsense) as stream:
            assert stream.status == 200


def test_an_unknown_batch_is_a_problem(site):
    response = site.get("/api/batches/77/stream")
    assert (response.status, response.json["code"]) == (404, "batch_not_found")


def test_when_slots_are_used_up_others_are_told_and_requests_still_answered(serve):
    site = serve(server__max_streams=3, server__request_threads=2)
    batch_id = store("a@x.de").batch_id
    streams = [site.stream(batch_id) for _ in range(3)]
    for stream in streams:
        next(stream.__enter__().events())
    refused = site.get(f"/api/batches/{batch_id}/stream")
    assert (refused.status, refused.json["code"]) == (503, "no_stream_slot")
    assert refused.headers["Retry-After"]
    answers = []
    threads = [
        threading.Thread(target=lambda: answers.append(site.get("/api/batches").status))
        for _ in range(10)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == [200] * 10
    for stream in streams:
        stream.__exit__(None, None, None)
    # Slots of browsers that went away are free again.
    eventually(lambda: _takes_stream(site, batch_id))


def _takes_stream(site, batch_id):
    with site.stream(batch_id) as stream:
        return stream.status == 200


def test_refused_and_head_requests_keep_no_slot(serve):
    site = serve(server__max_streams=1)
    batch_id = store("a@x.de").batch_id
    for _ in range(3):
        assert site.get("/api/batches/77/stream").status == 404
        assert site.request("HEAD", f"/api/batches/{batch_id}/stream").status == 200
    assert _takes_stream(site, batch_id)


@pytest.mark.parametrize("of_all", [False, True])
def test_a_stopping_server_ends_its_streams(doorbell, database, make_settings, of_all):
    from app import wsgi
    from harness.site import Site
    from relay.hub import Hub
    from web.server.server import HttpServer
    from web.services import Services

    settings = make_settings()
    stopping = threading.Event()
    hub = Hub(doorbell, settings.redis.channel_prefix)
    access = Access(settings)
    services = Services(settings, access, doorbell, hub, stopping)
    server = HttpServer(wsgi(services), settings, access.may_send)
    thread = threading.Thread(target=server.serve, args=(stopping,))
    hub.start()
    thread.start()
    batch_id = store("a@x.de").batch_id
    with Site(server.url).stream(None if of_all else batch_id) as stream:
        lines = stream.lines()
        assert next(line for line in lines if f'"batchId":{batch_id}' in line)
        began = time.monotonic()
        stopping.set()
        assert not any("batchId" in line for line in lines)
        thread.join()
        assert time.monotonic() - began < 20
    hub.stop()


@pytest.mark.parametrize("path", ["/api/batches/1/stream"])
def test_one_subscription_feeds_all_streams(site, doorbell, path):
    batch_id = store("a@x.de").batch_id
    with site.stream(batch_id) as first, site.stream(batch_id) as second:
        next(first.events())
        next(second.events())
        assert doorbell.client.pubsub_numpat() == 1
        assert doorbell.client.pubsub_channels() == []


def publish(doorbell, batch_id, revision, processed, status="processing"):
    snapshot = models.Snapshot(batch_id, revision, status, processed, 0, 1000)
    publish_module.publish(doorbell, "batch:status:", snapshot)


def test_events_tell_the_rate_and_the_seconds_left(site, doorbell, monkeypatch):
    monkeypatch.setattr(rates, "LEAST_SECONDS", 0.0001)
    monkeypatch.setattr(rates, "INTERVAL_SECONDS", 0.0001)
    batch_id = store("a@x.de").batch_id
    with site.stream(batch_id) as one, site.stream() as every:
        events, snapshots = one.events(), every.snapshots()
        next(events), next(snapshots)
        publish(doorbell, batch_id, 2, 0)
        assert next(events)["rate"] is next(snapshots)["rate"] is None
        publish(doorbell, batch_id, 3, 60)
        seen = next(events)
        assert 0 <= seen["secondsLeft"] - 940 / seen["rate"] < 1.1
        assert next(snapshots) == seen
        answer = site.get(f"/api/batches/{batch_id}").json
        assert (answer["rate"], answer["secondsLeft"]) == (None, None)  # it is pending, in truth
        chart = answer["rates"]
        assert sum(chart["points"]) * chart["interval"] == pytest.approx(60, rel=0.5)


class TestOfAll:
    def test_it_begins_with_health_and_present_snapshots(self, site):
        ids = [store("a@x.de").batch_id for _ in range(23)]
        for batch_id in ids[:2]:
            start(batch_id)
            complete(batch_id)
        with site.stream() as stream:
            headers = stream.response.headers
            assert headers["Content-Type"] == "text/event-stream; charset=utf-8"
            assert headers["Cache-Control"] == "no-store"
            assert headers["X-Accel-Buffering"] == "no"
            assert stream.response.readline() == b"retry: 2000\n"
            events = stream.all_events()
            kind, report = next(events)
            assert (kind, report["status"], report["unfinishedBatches"]) == ("health", "ok", 21)
            # Two have ended and are not among the newest; the third is, and is none of them.
            snapshots = [next(events)[1] for _ in ids[2:]]
            assert [snapshot["batchId"] for snapshot in snapshots] == ids[2:]
            assert snapshots[0] == {
                "batchId": ids[2], "revision": 1, "status": "pending",
                "processed": 0, "failed": 0, "total": 1,
                "waiting": 0, "nextAt": None, "paused": None, "perMinute": None,
                "processor": None,
                "reasons": {}, "verdicts": {"ok": 0, "risky": 0, "unknown": 0, "invalid": 0},
                "rate": None, "secondsLeft": None,
            }  # fmt: skip

    def test_every_change_comes_new_batches_and_the_end_of_old_ones_included(self, site, doorbell):
        first = store("a@x.de").batch_id
        with site.stream() as stream:
            snapshots = stream.snapshots()
            assert next(snapshots)["batchId"] == first
            second = site.upload(b"b@x.de\n").json["batchId"]
            seen = next(snapshots)
            assert (seen["batchId"], seen["status"]) == (second, "pending")
            start(first, doorbell)
            assert next(snapshots)["status"] == "processing"
            complete(first, doorbell)
            assert next(snapshots)["status"] == "completed"
            assert site.request("DELETE", f"/api/batches/{first}").status == 204
            seen = next(snapshots)
            assert (seen["batchId"], seen["status"], seen["revision"]) == (first, "deleted", 4)

    def test_health_is_told_again_and_again(self, site, doorbell, monkeypatch):
        monkeypatch.setattr(streams, "HEALTH_SECONDS", 0.1)
        monkeypatch.setattr(health, "RECENT_SECONDS", 0.05)
        with site.stream() as stream:
            events = stream.all_events()
            assert next(events)[1]["workersAlive"] == 0
            Presence(doorbell.client, "email-queue").announce([ThreadReport(1)], 0.0)
            kinds = []
            for kind, report in events:
                kinds.append(kind)
                if report["workersAlive"]:
                    break
            assert set(kinds) == {"health"}

    def test_changes_at_the_same_time_are_told_once_each_batch(self, site, doorbell, monkeypatch):
        monkeypatch.setattr(streams, "PAUSE_SECONDS", 1.0)
        with site.stream() as stream:
            snapshots = stream.snapshots()
            began = time.monotonic()
            for revision in range(1, 101):
                for batch_id in (1, 2, 3):
                    publish(doorbell, batch_id, revision, revision)
            seen = []
            while len({each["batchId"] for each in seen if each["revision"] == 100}) < 3:
                seen.append(next(snapshots))
            # One a batch at first, in each pause since, and for those published during the last.
            assert len(seen) <= 3 * (2 + time.monotonic() - began)

    def test_it_moves_without_redis_too(self, serve, no_redis, monkeypatch):
        monkeypatch.setattr(hub_module, "PROBE_SECONDS", 0.05)
        site = serve(no_redis)
        old = store("a@x.de").batch_id
        for _ in range(25):
            complete_unseen(store("b@x.de").batch_id)
        with site.stream() as stream:
            snapshots = stream.snapshots()
            assert next(snapshots)["batchId"] == old
            complete_unseen(old)
            assert ended(snapshots, old)["status"] == "completed"
            new = store("c@x.de").batch_id
            assert next(snapshots)["batchId"] == new
            # Deleted by another process.
            query("UPDATE batch SET deleted_at = now() WHERE id = %s RETURNING 1", old)
            assert ended(snapshots, old)["status"] == "deleted"

    def test_a_change_that_nobody_published_is_found(self, often, site, doorbell):
        batch_id = store("a@x.de").batch_id
        with site.stream() as stream:
            snapshots = stream.snapshots()
            next(snapshots)
            complete_unseen(batch_id)
            assert any(each["status"] == "completed" for each in snapshots)

    def test_what_is_known_is_not_told_again(self, often, site, doorbell, monkeypatch):
        monkeypatch.setattr(streams, "HEALTH_SECONDS", 0.2)
        store("a@x.de")
        with site.stream() as stream:
            events = stream.all_events()
            kinds = [next(events)[0] for _ in range(5)]
            assert kinds == ["health", "message", "health", "health", "health"]

    def test_it_takes_a_slot_until_the_browser_has_gone(self, serve):
        site = serve(server__max_streams=1)
        with site.stream() as stream:
            next(stream.all_events())
            refused = site.get("/api/batches/stream")
            assert (refused.status, refused.json["code"]) == (503, "no_stream_slot")
            assert refused.headers["Retry-After"]
        eventually(lambda: _takes_stream(site, None))
        eventually(lambda: site.request("HEAD", "/api/batches/stream").status == 200)
        eventually(lambda: _takes_stream(site, None))

    def test_without_the_database_it_is_refused_and_keeps_no_slot(
        self, serve, monkeypatch, tmp_path
    ):
        site = serve(server__max_streams=1)
        with monkeypatch.context() as patch:
            pool.close_idle()
            patch.setitem(pool.connect_params, "host", str(tmp_path))
            for _ in range(2):
                refused = site.get("/api/batches/stream")
                assert (refused.status, refused.json["code"]) == (503, "database_unreachable")
        eventually(lambda: _takes_stream(site, None))


def ended(snapshots, batch_id):
    """The next of the snapshots that shows this batch ended."""
    ends = ("completed", "deleted")
    return next(
        each for each in snapshots if each["batchId"] == batch_id and each["status"] in ends
    )


def complete_unseen(batch_id):
    start(batch_id)
    complete(batch_id)
