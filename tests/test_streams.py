"""Server-Sent Events over real waitress."""

import threading
import time

import pytest
import support
from support import claim_next, eventually, store

import app
import claims
import progress
import streams
from claims import Outcomes
from database import pool, session


def start(batch_id, client=None):
    snapshot = support.start(batch_id)
    if client is not None:
        progress.publish(client, "batch:status:", snapshot)
    return snapshot


def complete(batch_id, client=None):
    with session(), pool.atomic():
        claim = claim_next(batch_id)
        snapshot = claims.store_outcomes(claim, Outcomes(claim.last_id, len(claim.emails)))
    if client is not None:
        progress.publish(client, "batch:status:", snapshot)
    return snapshot


def test_a_snapshot_comes_at_once_then_every_change_until_the_end(site, client):
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
            "processed": 0, "failed": 0, "total": 2,
            "reasons": {}, "verdicts": {"ok": 0, "risky": 0, "unknown": 0, "invalid": 0},
        }  # fmt: skip
        start(batch_id, client)
        assert next(events)["status"] == "processing"
        complete(batch_id, client)
        last = next(events)
        assert (last["status"], last["processed"]) == ("completed", 2)
        assert list(events) == []


def test_old_news_is_not_streamed(site, client):
    batch_id = store("a@x.de").batch_id
    with site.stream(batch_id) as stream:
        events = stream.events()
        next(events)
        first = start(batch_id, client)
        assert next(events)["revision"] == 2
        progress.publish(client, "batch:status:", first)
        complete(batch_id, client)
        assert next(events)["revision"] == 3


def test_a_change_that_nobody_published_is_streamed_too(site, client, monkeypatch):
    monkeypatch.setattr(progress, "REFRESH_SECONDS", 0.1)
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


def test_a_finished_batch_is_told_once_and_a_reconnect_gets_204(site, client):
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
    with site.stream(batch_id, Last_Event_ID="nonsense") as stream:
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


def test_a_stopping_server_ends_its_streams(serve, doorbell, database, make_settings):
    from support import Site

    from progress import Hub
    from serving import HttpServer

    settings = make_settings()
    stopping = threading.Event()
    hub = Hub(doorbell, settings.redis.channel_prefix)
    server = HttpServer(app.Application(settings, doorbell, hub, stopping).wsgi(), settings)
    thread = threading.Thread(target=server.serve, args=(stopping,))
    hub.start()
    thread.start()
    with Site(server.url).stream(store("a@x.de").batch_id) as stream:
        events = stream.events()
        next(events)
        began = time.monotonic()
        stopping.set()
        assert list(events) == []
        thread.join()
        assert time.monotonic() - began < 5
    hub.stop()


@pytest.mark.parametrize("path", ["/api/batches/1/stream"])
def test_one_subscription_feeds_all_streams(site, client, path):
    batch_id = store("a@x.de").batch_id
    with site.stream(batch_id) as first, site.stream(batch_id) as second:
        next(first.events())
        next(second.events())
        assert client.pubsub_numpat() == 1
        assert client.pubsub_channels() == []
