"""What is published of a batch, seen by somebody who only knows the contract."""

import json
import random
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from harness.files import csv_of
from harness.processors import write_slow_processor
from models import Snapshot
from relay import publish as publish_module
from relay.doorbell import Doorbell
from relay.publish import Publisher

PREFIX = "batch:status:"


def at(revision, batch_id=1, status="processing"):
    return Snapshot(batch_id, revision, status, revision, 0, 100)


class Listener:
    """Somebody else's subscription."""

    def __init__(self, client):
        self._pubsub = client.pubsub()
        self._pubsub.psubscribe(f"{PREFIX}*")
        assert self._pubsub.get_message(timeout=30)["type"] == "psubscribe"
        self.heard = {}

    def listen(self, until):
        """Hear until so much is there, then what else is under way."""
        deadline = time.monotonic() + 60
        while self._hear() or not until(self.heard):
            assert time.monotonic() < deadline, self.heard
        self._pubsub.close()

    def _hear(self):
        received = self._pubsub.get_message(timeout=0.3)
        if received is None:
            return False
        if received["type"] == "pmessage":
            told = json.loads(received["data"])
            self.heard.setdefault(told["batchId"], []).append((told["revision"], told["status"]))
        return True

    def assert_in_order(self):
        for batch_id, told in self.heard.items():
            revisions = [revision for revision, _ in told]
            assert revisions == sorted(set(revisions)), (batch_id, told)
            assert told[-1][1] == "completed", (batch_id, told)


def test_a_message_is_as_the_contract_says():
    reasons = {"no_at_sign": 2, "role_account": 5, "dns_timeout": 1}
    assert publish_module.message(Snapshot(1, 7, "processing", 50, 2, 200, reasons)) == (
        '{"batchId":1,"revision":7,"status":"processing","processed":50,"failed":2,"total":200,'
        '"waiting":0,"nextAt":null,"paused":null,"perMinute":null,"processor":null,'
        '"reasons":{"no_at_sign":2,"role_account":5,"dns_timeout":1},'
        '"verdicts":{"ok":42,"risky":5,"unknown":1,"invalid":2}}'
    )


class TestPublisher:
    @pytest.fixture
    def published(self):
        return []

    @pytest.fixture
    def publisher(self, published):
        return Publisher(published.append)

    def test_holds_back_all_but_the_newest_until_it_is_due(self, publisher, published, monkeypatch):
        monkeypatch.setattr(publish_module, "PUBLISH_SECONDS", 1000.0)
        for revision in (2, 3, 5, 4):
            publisher.publish(at(revision))
        publisher.flush()
        assert published == [at(2)]
        monkeypatch.setattr(publish_module, "PUBLISH_SECONDS", 0.0)
        publisher.flush()
        publisher.flush()
        assert published == [at(2), at(5)]

    def test_an_older_snapshot_that_comes_late_does_not_replace_the_newest(
        self, publisher, published, monkeypatch
    ):
        monkeypatch.setattr(publish_module, "PUBLISH_SECONDS", 1000.0)
        for revision in (2, 5):
            publisher.publish(at(revision))
        monkeypatch.setattr(publish_module, "PUBLISH_SECONDS", 0.0)
        publisher.publish(at(4))
        publisher.flush()
        assert published == [at(2), at(5)]

    def test_the_end_never_waits_and_is_the_last(self, publisher, published, monkeypatch):
        monkeypatch.setattr(publish_module, "PUBLISH_SECONDS", 1000.0)
        for revision in (2, 3):
            publisher.publish(at(revision))
        publisher.publish(at(4, status="completed"))
        publisher.publish(at(1, batch_id=2))
        monkeypatch.setattr(publish_module, "PUBLISH_SECONDS", 0.0)
        publisher.flush()
        assert published == [at(2), at(4, status="completed"), at(1, batch_id=2)]

    def test_a_beginning_is_published_unless_something_newer_comes_first(
        self, publisher, published
    ):
        publisher.publish(at(2), soon=True)
        publisher.publish(at(3, status="completed"))
        publisher.publish(at(2), soon=True)
        publisher.publish(at(5, batch_id=2), soon=True)
        publisher.publish(at(4, batch_id=2), soon=True)
        assert published == [at(3, status="completed")]
        publisher.flush()
        assert published == [at(3, status="completed"), at(5, batch_id=2)]
        assert not publisher._waiting

    def test_forgets_batches_that_are_quiet(self, publisher, monkeypatch):
        monkeypatch.setattr(publish_module, "PUBLISH_SECONDS", 0.0)
        for batch_id in range(100):
            publisher.publish(at(1, batch_id))
        publisher.flush()
        assert not publisher._last


class TestOrder:
    def test_a_newer_snapshot_waits_until_the_older_one_is_out(self):
        published, out, coming = [], threading.Event(), threading.Event()

        def publish(snapshot):
            coming.set()
            assert snapshot.terminal or out.wait(20)
            published.append(snapshot.revision)

        publisher = Publisher(publish)
        older = threading.Thread(target=publisher.publish, args=[at(5)])
        newer = threading.Thread(target=publisher.publish, args=[at(6, status="completed")])
        older.start()
        assert coming.wait(20)
        newer.start()
        newer.join(0.2)
        out.set()
        for thread in (older, newer):
            thread.join(20)
        publisher.publish(at(4))
        publisher.flush()
        assert published == [5, 6]

    def test_of_several_publishers_nobody_hears_what_is_old(self, client, servers):
        listener = Listener(client)
        batches, last = range(1, 11), 60
        doorbells = [Doorbell(servers.redis_url, "email-queue") for _ in range(3)]

        def publish(doorbell, seed):
            snapshots = [
                at(revision, batch_id, "completed" if revision == last else "processing")
                for batch_id in batches
                for revision in range(1, last + 1)
            ]
            random.Random(seed).shuffle(snapshots)
            for snapshot in snapshots:
                publish_module.publish(doorbell, PREFIX, snapshot)

        with ThreadPoolExecutor(3) as threads:
            list(threads.map(publish, doorbells, range(3)))
        for doorbell in doorbells:
            doorbell.close()
        listener.listen(lambda heard: len(heard) == len(batches))
        listener.assert_in_order()

    def test_a_retried_batch_ends_once_more(self, client, doorbell):
        listener = Listener(client)
        for revision, status in enumerate(
            ("processing", "failed", "pending", "processing", "completed"), start=1
        ):
            publish_module.publish(doorbell, PREFIX, at(revision, status=status))
        listener.listen(lambda heard: len(heard[1]) == 5)
        listener.assert_in_order()

    def test_a_redis_that_forgets_does_no_more_harm_than_that(self, client, doorbell):
        listener = Listener(client)
        publish_module.publish(doorbell, PREFIX, at(5))
        client.flushall()
        publish_module.publish(doorbell, PREFIX, at(4))
        listener.listen(lambda heard: len(heard.get(1, [])) == 2)
        assert listener.heard == {1: [(5, "processing"), (4, "processing")]}

    def test_the_end_is_the_last_that_is_heard_of_a_batch(self, processes, client, tmp_path):
        slow = write_slow_processor(tmp_path, milliseconds=0)
        changes = {"worker__processor": slow, "worker__chunk_size": 100}
        app = processes("app.py", **changes)
        workers = [processes("worker.py", "--threads", "4", **changes) for _ in range(2)]
        for worker in workers:
            worker.await_line("worker started")
        listener = Listener(client)
        site, content = app.site(), csv_of(*(f"user{n}@example.com" for n in range(2000)))
        batches = [site.upload(content).json["batchId"] for _ in range(15)]
        listener.listen(
            lambda heard: all(
                "completed" in dict(map(reversed, heard.get(batch_id, []))) for batch_id in batches
            )
        )
        listener.assert_in_order()
