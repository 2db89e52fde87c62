"""The supervisor, driven without a process of its own; test_commands.py has the processes."""

import json
import threading
import time
from collections import Counter
from datetime import UTC, datetime, timedelta

import pytest

from batches.intake import Upload
from harness.batches import store
from harness.books import assert_books_balance, query, snapshot
from harness.polling import eventually
from processors import one_by_one
from relay import presence
from work import supervisor as supervising
from work.supervisor import Supervisor


@one_by_one
def no_b(address):
    return "has_b" if address.startswith("b") else None


@pytest.fixture
def supervise(make_services):
    """Start a supervisor with a processor and changed settings; it is stopped at the end."""
    running = []

    def start(processor, **changes):
        stopping = threading.Event()
        supervisor = Supervisor(make_services(processor, **changes), stopping)
        clean = []
        thread = threading.Thread(target=lambda: clean.append(supervisor.run()))
        thread.start()

        def stop():
            stopping.set()
            thread.join()
            return clean[0]

        running.append(stop)
        return supervisor, stop

    yield start
    for stop in running:
        stop()


def test_the_sweep_rings_for_every_unfinished_batch_once(make_services, make_turns, queue):
    supervisor = Supervisor(make_services(no_b), threading.Event())
    lost, rung = store("a@x.de").batch_id, store("b@x.de").batch_id
    done = store("c@x.de").batch_id
    queue.enqueue(done)
    make_turns(no_b).run_once()
    queue.enqueue(rung)
    for _ in range(3):
        supervisor.sweep()
    assert [queue.dequeue(0.1) for _ in range(3)] == [rung, lost, None]


def test_a_batch_that_waits_for_its_time_begins_then_and_no_paused_one_does(
    make_services, client, queue, caplog
):
    caplog.set_level("INFO")
    later = datetime.now(UTC) + timedelta(hours=1)
    due = store("a@x.de", upload=Upload(None, True, later)).batch_id
    store("b@x.de", upload=Upload(None, True))
    supervisor = Supervisor(make_services(no_b), threading.Event())
    with client.pubsub() as messages:
        messages.psubscribe("batch:status:*")
        messages.get_message(timeout=20)
        supervisor.sweep()
        assert queue.depth() == 0
        query("UPDATE batch SET resume_at = now() WHERE id = %s RETURNING 1", due)
        eventually(lambda: supervisor.sweep() or queue.depth())
        told = json.loads(messages.get_message(timeout=20)["data"])
    assert (told["batchId"], told["paused"]) == (due, None)
    assert queue.dequeue(0.1) == due
    assert f"resumed batch={due}" in caplog.messages


def test_batches_are_deleted_when_they_are_old_enough_and_have_ended(
    make_services, caplog, client, monkeypatch
):
    caplog.set_level("INFO")
    monkeypatch.setattr(supervising, "MAX_EXPIRED", 2)
    old = [store("a@x.de", "b@x.de").batch_id for _ in range(3)]
    new, pending = store("c@x.de").batch_id, store("d@x.de").batch_id
    for batch_id, days in (*((each, 31) for each in old), (new, 29)):
        query(
            "UPDATE batch SET status = 'cancelled',"
            " completed_at = now() - make_interval(days => %s) WHERE id = %s RETURNING 1",
            days,
            batch_id,
        )
    query("UPDATE batch SET created_at = now() - interval '99 days' RETURNING 1")
    Supervisor(make_services(no_b), threading.Event()).sweep()
    assert "expired" not in caplog.text  # it is off
    supervisor = Supervisor(make_services(no_b, retention__days=30), threading.Event())
    with client.pubsub() as messages:
        messages.psubscribe("batch:status:*")
        supervisor.sweep()
        supervisor.sweep()
        told = [messages.get_message(timeout=20) for _ in range(4)]
    assert [json.loads(each["data"])["batchId"] for each in told[1:]] == old
    assert [each for each in caplog.messages if each.startswith("expired")] == [
        f"expired batch={batch_id} emails=2 days=30" for batch_id in old
    ]
    gone = "SELECT id FROM batch WHERE deleted_at IS NULL ORDER BY id"
    assert query(gone) == [(new,), (pending,)]
    assert query("SELECT batch_id, kind, user_name FROM action ORDER BY 1") == [
        (batch_id, "expired", None) for batch_id in old
    ]
    # Their rows go as those of other deleted batches.
    query("UPDATE batch SET deleted_at = deleted_at - interval '2 min' RETURNING 1")

    def batches_with_emails():
        supervisor.sweep()  # each removes for a fifth of a second
        return query("SELECT DISTINCT batch_id FROM email ORDER BY 1")

    eventually(lambda: batches_with_emails() == [(new,), (pending,)])


def test_a_list_full_of_nonsense_is_cleared_and_what_is_unfinished_is_rung_for(
    make_services, client, queue, caplog
):
    supervisor = Supervisor(make_services(no_b), threading.Event())
    unfinished = store("a@x.de").batch_id
    for _ in range(100):  # not at once, for which a busy machine may take longer than is waited
        client.lpush("email-queue", *["424242"] * 10_000)
    client.lpush("email-queue", "hello", unfinished)
    supervisor.sweep()
    supervisor.sweep()
    assert [queue.dequeue(0.1) for _ in range(2)] == [unfinished, None]
    assert caplog.messages == [
        "list cleared, because most of its ids have no batch ids=1000002 batches=1"
    ]


def test_many_batches_that_wait_are_no_nonsense(make_services, queue, caplog):
    supervisor = Supervisor(make_services(no_b), threading.Event())
    ids = [store("a@x.de").batch_id for _ in range(supervising.STALE_IDS + 20)]
    queue.enqueue(*reversed(ids))
    supervisor.sweep()
    assert [queue.dequeue(0.1) for _ in range(2)] == ids[:-3:-1]
    assert caplog.messages == []


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_the_supervisor_replaces_a_thread_that_died_and_announces_itself(supervise, client, caplog):
    deadly = threading.Event()
    deadly.set()

    @one_by_one
    def deadly_once(address):
        if deadly.is_set():
            deadly.clear()
            raise SystemExit

    batch_id = store("a@x.de").batch_id
    _, stop = supervise(deadly_once, worker__threads=2, worker__sweep_seconds=0.2)
    eventually(lambda: snapshot(batch_id).status == "completed")
    eventually(lambda: any("thread died" in message for message in caplog.messages))
    assert len(client.keys("email-queue:worker:*")) == 1
    assert stop()
    assert client.keys("email-queue:worker:*") == []
    assert_books_balance()


def test_a_thread_that_hangs_does_not_hold_up_the_end(supervise):
    hanging, release = threading.Event(), threading.Event()

    @one_by_one
    def hang(address):
        hanging.set()
        release.wait(60)

    store("a@x.de")
    _, stop = supervise(hang, worker__threads=1, worker__shutdown_seconds=0.3)
    assert hanging.wait(20)
    began = time.monotonic()
    assert not stop()
    assert time.monotonic() - began < 30
    release.set()
    eventually(lambda: query("SELECT status FROM batch") == [("completed",)])


SHORT = {
    "worker__turn_seconds": 0.1,
    "worker__turn_timeout_seconds": 0.5,
    "worker__shutdown_seconds": 0.3,
}


@pytest.fixture
def short_grace(monkeypatch):
    monkeypatch.setattr(supervising, "GRACE_SECONDS", 0.2)


def test_a_thread_that_hangs_is_replaced_and_its_emails_are_processed_all_the_same(
    supervise, short_grace, caplog
):
    hung, release = [], threading.Event()

    @one_by_one
    def hang_once(address):
        if not hung:
            hung.append(address)
            release.wait(60)

    batch_id = store("a@x.de", "b@x.de").batch_id
    supervisor, stop = supervise(hang_once, worker__threads=1, **SHORT)
    eventually(lambda: snapshot(batch_id).status == "completed")
    assert hung == ["a@x.de"]
    assert not supervisor.worn_out
    release.set()
    eventually(lambda: not any(t.name == "worker-1" for t in supervisor._hung))
    assert stop()
    hangs = [message for message in caplog.messages if "hangs" in message]
    assert hangs == [
        f"thread hangs; another takes its place thread=1 batch={batch_id} chunk=1 hanging=1"
    ]
    # The one that came back found its connection cut, and that is no outage.
    assert not any("unreachable" in message for message in caplog.messages)
    assert snapshot(batch_id).revision == 3
    assert_books_balance()


def test_a_worker_with_too_many_hung_threads_is_worn_out(supervise, short_grace, caplog):
    release = threading.Event()

    @one_by_one
    def hang(address):
        release.wait(60)

    for number in range(3):
        store(f"user{number}@x.de")
    supervisor, stop = supervise(hang, worker__threads=1, **SHORT)
    eventually(lambda: supervisor.worn_out)
    stop()
    assert any("restarts itself" in message for message in caplog.messages)
    assert len(supervisor._hung) == supervisor._settings.max_hung
    release.set()
    assert_books_balance()


def test_a_worker_tells_what_its_threads_do_and_how_fast(supervise, client):
    release = threading.Event()

    @one_by_one
    def hold_b(address):
        if address.startswith("b"):
            release.wait(60)

    store("a@x.de", "c@x.de")
    batch_id = store("a@x.de", "b@x.de", chunk_size=1).batch_id
    _, stop = supervise(hold_b, worker__threads=2)

    def busy():
        (worker,) = presence.workers(client, "email-queue").alive or [None]
        return worker and any(thread.batch_id for thread in worker.activity) and worker

    worker = eventually(busy)
    assert worker.threads == 2
    (thread,) = [each for each in worker.activity if each.batch_id]
    assert (thread.batch_id, thread.first_id) == (batch_id, 2)
    assert worker.rate > 0
    seconds = thread.seconds
    eventually(lambda: busy().activity[thread.number - 1].seconds > seconds)
    release.set()
    assert stop()
    assert presence.workers(client, "email-queue").alive == []


def test_many_workers_and_sweepers_and_a_list_full_of_duplicates_count_everything_once(
    supervise, client
):
    seen = Counter()

    @one_by_one
    def count(address):
        seen[address] += 1

    ids = [
        store(*(f"user{number}@{batch}.de" for number in range(300)), chunk_size=20).batch_id
        for batch in range(3)
    ]
    client.lpush("email-queue", *ids * 300, "hello", 424242)
    stops = [supervise(count, worker__threads=2, worker__sweep_seconds=0.1)[1] for _ in range(10)]
    eventually(lambda: query("SELECT count(*) FROM batch WHERE status = 'completed'") == [(3,)])
    eventually(lambda: client.llen("email-queue") == 0)
    assert all(stop() for stop in stops)
    assert set(seen.values()) == {1}
    assert len(seen) == 900
    assert_books_balance()
