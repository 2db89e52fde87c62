import logging
import threading
import time

import pytest

from harness.batches import start, store
from harness.books import query
from harness.polling import eventually
from models import Snapshot
from relay import hub as hub_module
from relay import publish
from relay.hub import Hub, Mailbox

PREFIX = "batch:status:"


def at(revision, batch_id=1, status="processing"):
    return Snapshot(batch_id, revision, status, revision, 0, 100)


@pytest.fixture
def often(monkeypatch):
    """A hub that is made after this reads from PostgreSQL ten times a second."""
    monkeypatch.setattr(hub_module, "REFRESH_SECONDS", 0.1)


@pytest.fixture
def hub(doorbell, database):
    hub = Hub(doorbell, PREFIX)
    hub.start()
    yield hub
    hub.stop()


def subscribed(doorbell):
    return eventually(lambda: doorbell.client.pubsub_numpat() == 1)


def test_a_mailbox_keeps_the_newest_and_never_goes_back(few):
    mailbox = Mailbox(1, few)
    assert mailbox.take(0.0) == []
    for revision in (1, 3, 2):
        mailbox.put(at(revision))
    assert mailbox.take(0.0) == [at(3)]
    mailbox.put(at(3))
    mailbox.put(at(2))
    assert mailbox.take(0.0) == []
    mailbox.put(at(4))
    assert mailbox.take(0.0) == [at(4)]


def test_a_mailbox_tells_when_a_batch_has_ended(few):
    mailbox = Mailbox(None, few)
    mailbox.put(at(1))
    threading.Timer(0.05, mailbox.put, [at(2, status="completed")]).start()
    began = time.monotonic()
    mailbox.await_end(60)
    assert time.monotonic() < began + 20
    assert mailbox.take(0.0) == [at(2, status="completed")]
    assert not mailbox._has_end


def test_taking_waits_for_a_snapshot(few):
    mailbox = Mailbox(1, few)
    threading.Timer(0.05, mailbox.put, [at(1)]).start()
    began = time.monotonic()
    assert mailbox.take(60) == [at(1)]
    assert time.monotonic() < began + 20


def test_two_streams_go_on_at_a_time(patient, few):
    mailboxes = [Mailbox(1, few) for _ in range(5)]
    taken = []

    def stream(mailbox):
        taken.append((mailbox, mailbox.take(60)))

    threads = [threading.Thread(target=stream, args=[mailbox]) for mailbox in mailboxes]
    for thread in threads:
        thread.start()
    eventually(lambda: all(mailbox._awaited for mailbox in mailboxes))
    for mailbox in mailboxes:
        mailbox.put(at(1))
    eventually(lambda: len(taken) == 2)
    assert {mailbox for mailbox, _ in taken} == {*mailboxes[:2]}
    mailboxes[0].close()
    eventually(lambda: len(taken) == 3)
    mailboxes[1].take(0.001)  # it waits again
    eventually(lambda: len(taken) == 4)
    mailboxes[2].pause(0.001)
    eventually(lambda: len(taken) == 5)
    assert [mailbox for mailbox, _ in taken[2:]] == mailboxes[2:]
    assert [snapshots for _, snapshots in taken] == 5 * [[at(1)]]
    for thread in threads:
        thread.join()


def test_a_stream_whose_wait_has_timed_out_is_not_woken_later(patient, few):
    for name in "ab":
        few.add(lambda name=name: name)
    mailbox = Mailbox(1, few)
    mailbox.put(at(1))
    assert mailbox.take(0.001) == [at(1)]
    few.done("a")  # it has its place no longer
    assert [*few._woken] == ["b"]
    threading.Timer(0.05, mailbox.put, [at(2)]).start()
    began = time.monotonic()
    assert mailbox.take(60) == [at(2)]
    assert time.monotonic() < began + 20


def test_a_pause_lasts_whatever_is_put_in(few):
    mailbox = Mailbox(None, few)
    mailbox.put(at(1, status="completed"))
    began = time.monotonic()
    mailbox.pause(0.05)
    assert time.monotonic() >= began + 0.05
    mailbox.await_end(60)
    assert time.monotonic() < began + 20


def test_a_mailbox_keeps_the_newest_of_each_batch_and_is_emptied_at_once(few):
    mailbox = Mailbox(None, few)
    assert mailbox.take(0.0) == []
    for revision in (1, 3, 2):
        mailbox.put(at(revision))
    mailbox.put(at(1, batch_id=2))
    assert mailbox.take(0.0) == [at(3), at(1, batch_id=2)]
    mailbox.put(at(3))
    assert mailbox.take(0.0) == []
    threading.Timer(0.05, mailbox.put, [at(4)]).start()
    assert mailbox.take(20) == [at(4)]


def test_what_is_remembered_of_batches_is_bounded(monkeypatch, few):
    monkeypatch.setattr(hub_module, "MAX_DELIVERED", 3)
    mailbox = Mailbox(None, few)
    for batch_id in range(1, 6):
        mailbox.put(at(1, batch_id))
    assert list(mailbox._revisions) == [3, 4, 5]
    assert len(mailbox.take(0.0)) == 5


def test_a_mailbox_gets_what_is_published_of_any_batch_and_the_rates_learn_of_it(hub, doorbell):
    subscribed(doorbell)
    mailbox = hub.watch(None)
    for batch_id in (1, 2):
        publish.publish(doorbell, PREFIX, at(5, batch_id))
    seen = []
    while len(seen) < 2:
        seen += mailbox.take(20)
    assert seen == [at(5, 1), at(5, 2)]
    assert set(hub.rates._tracks) == {1, 2}
    hub.unwatch(mailbox)
    assert not hub._mailboxes
    assert not hub._delivered


def test_the_rates_learn_also_when_nobody_watches(hub, doorbell):
    subscribed(doorbell)
    publish.publish(doorbell, PREFIX, at(5))
    assert eventually(lambda: list(hub.rates._tracks) == [1])
    assert not hub._delivered


def test_a_batch_that_has_vanished_is_told_as_deleted(often, hub, doorbell):
    subscribed(doorbell)
    batch_id = store("a@x.de").batch_id
    one, every = hub.watch(batch_id), hub.watch(None)
    assert one.take(20)[0].status == every.take(20)[0].status == "pending"
    query("UPDATE batch SET deleted_at = now() RETURNING 1")
    for last in (one.take(20)[0], every.take(20)[0]):
        assert (last.status, last.revision, last.terminal) == ("deleted", 2, True)
    assert not hub._delivered


def test_what_is_published_reaches_the_mailboxes_of_that_batch_only(hub, doorbell):
    subscribed(doorbell)
    first, second, other = hub.watch(1), hub.watch(1), hub.watch(2)
    publish.publish(doorbell, PREFIX, at(5))
    assert first.take(20) == second.take(20) == [at(5)]
    assert other.take(0.0) == []


def test_an_unwatched_mailbox_gets_nothing_more(hub, doorbell):
    subscribed(doorbell)
    gone, there = hub.watch(1), hub.watch(1)
    hub.unwatch(gone)
    publish.publish(doorbell, PREFIX, at(5))
    assert there.take(20) == [at(5)]
    assert gone.take(0.0) == []
    hub.unwatch(there)
    assert not hub._mailboxes


def test_nonsense_on_a_channel_is_logged_and_skipped(hub, doorbell, caplog):
    subscribed(doorbell)
    mailbox = hub.watch(1)
    for nonsense in ("hello", "[]", '{"batchId":1}', '{"batchId":null}'):
        doorbell.client.publish(f"{PREFIX}1", nonsense)
    publish.publish(doorbell, PREFIX, at(5))
    assert mailbox.take(20) == [at(5)]
    assert sum("not a snapshot" in message for message in caplog.messages) == 4


def test_a_prefix_is_meant_literally(doorbell, database):
    hub = Hub(doorbell, "a*[b]?:")
    hub.start()
    subscribed(doorbell)
    mailbox = hub.watch(1)
    publish.publish(doorbell, "axxb:", at(4))
    publish.publish(doorbell, "a*[b]?:", at(3))
    assert mailbox.take(20) == [at(3)]
    hub.stop()


def test_a_change_that_nobody_published_is_found_in_postgres(often, hub, doorbell):
    subscribed(doorbell)
    batch_id = store("a@x.de").batch_id
    mailbox = hub.watch(batch_id)
    assert mailbox.take(20)[0].status == "pending"
    start(batch_id)
    assert mailbox.take(20)[0].status == "processing"


def test_without_redis_snapshots_come_from_postgres_and_the_outage_is_logged_once(
    database, no_redis, monkeypatch, caplog
):
    monkeypatch.setattr(hub_module, "PROBE_SECONDS", 0.05)
    hub = Hub(no_redis, PREFIX)
    hub.start()
    batch_id = store("a@x.de").batch_id
    mailbox = hub.watch(batch_id)
    assert mailbox.take(20)[0].status == "pending"
    start(batch_id)
    assert mailbox.take(20)[0].status == "processing"
    hub.stop()
    assert [record.levelno for record in caplog.records] == [logging.ERROR]


def test_a_cut_connection_is_made_again_and_what_was_missed_is_read(hub, doorbell, caplog):
    subscribed(doorbell)
    batch_id = store("a@x.de").batch_id
    mailbox = hub.watch(batch_id)
    doorbell.client.client_kill_filter(_type="pubsub")
    start(batch_id)
    eventually(lambda: any(each.status == "processing" for each in mailbox.take(1.0)))
    subscribed(doorbell)
    publish.publish(doorbell, PREFIX, at(9, batch_id))
    assert mailbox.take(20) == [at(9, batch_id)]


@pytest.mark.parametrize("status", ["completed", "deleted"])
def test_a_forged_end_is_not_told(hub, doorbell, status):
    subscribed(doorbell)
    batch_id = store("a@x.de").batch_id
    one, every = hub.watch(batch_id), hub.watch(None)
    publish.publish(doorbell, PREFIX, at(10**15, batch_id, status))
    for told in (one.take(20)[0], every.take(20)[0]):
        assert (told.status, told.revision) == ("pending", 1)
    changed = start(batch_id)
    doorbell.client.flushall()
    publish.publish(doorbell, PREFIX, changed)
    assert one.take(20) == every.take(20) == [changed]


@pytest.mark.parametrize("ahead", [10**15, hub_module.MAX_AHEAD])
def test_a_forged_revision_keeps_no_true_one_away(often, hub, doorbell, ahead):
    subscribed(doorbell)
    batch_id = store("a@x.de").batch_id
    one, every = hub.watch(batch_id), hub.watch(None)
    assert one.take(20)[0].revision == 1
    doorbell.client.publish(f"{PREFIX}{batch_id}", publish.message(at(1 + ahead, batch_id)))
    start(batch_id)
    eventually(lambda: any(told.revision == 2 for told in one.take(1.0)))
    eventually(lambda: any(told.revision == 2 for told in every.take(1.0)))
