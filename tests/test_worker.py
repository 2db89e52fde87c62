import logging
import threading
import time

import pytest
from support import assert_books_balance, emails, eventually, query, snapshot, store

import batchqueue
import models
import processors
from models import Snapshot
from processors import PROCESSED, ProcessorError, failed, one_by_one
from worker import Supervisor, process


@one_by_one
def no_b(address):
    return "has_b" if address.startswith("b") else None


def addresses(count):
    return [f"user{number}@x.de" for number in range(count)]


class TestProcess:
    """process(): from a processor and emails to outcomes."""

    EMAILS = [(1, "a"), (2, "b"), (3, "c"), (4, "d")]

    def run(self, processor, deadline=float("inf")):
        errors = []
        return process(processor, self.EMAILS, deadline, errors.append), errors

    def test_asks_the_processor_for_each_email_in_order(self):
        assert self.run(no_b) == ([PROCESSED, failed("has_b"), PROCESSED, PROCESSED], [])

    def test_stops_at_the_deadline_but_not_before_the_first(self):
        taken = []

        def lazy(emails):
            for address in emails:
                taken.append(address)
                yield PROCESSED

        assert self.run(lazy, deadline=0.0) == ([PROCESSED], [])
        assert taken == ["a"]

    def test_an_exception_fails_one_email(self):
        @one_by_one
        def raises_for_b(address):
            if address == "b":
                raise LookupError(address)

        outcomes, errors = self.run(raises_for_b)
        assert outcomes == [PROCESSED, failed("error"), PROCESSED, PROCESSED]
        assert [type(error) for error in errors] == [LookupError]

    def test_what_is_no_outcome_fails_one_email(self):
        def odd(emails):
            return (None if address == "b" else PROCESSED for address in emails)

        outcomes, errors = self.run(odd)
        assert outcomes == [PROCESSED, failed("error"), PROCESSED, PROCESSED]
        assert [type(error) for error in errors] == [ProcessorError]

    def test_a_processor_that_ends_early_fails_what_it_left_and_one_that_goes_on_is_cut(self):
        outcomes, errors = self.run(lambda emails: iter([PROCESSED]))
        assert outcomes == [PROCESSED, failed("error"), PROCESSED, failed("error")]
        assert len(errors) == 2
        outcomes, errors = self.run(lambda emails: iter([PROCESSED] * 9))
        assert (outcomes, errors) == ([PROCESSED] * 4, [])

    def test_a_processor_that_always_raises_ends_too(self):
        def broken(emails):
            raise OSError("down")

        assert self.run(broken)[0] == [failed("error")] * 4


def test_one_turn_takes_a_small_batch_from_pending_to_completed(make_turns, queue, client):
    turns = make_turns(no_b)
    batch_id = store("a@x.de", "b@x.de").batch_id
    messages = client.pubsub()
    messages.subscribe(f"batch:status:{batch_id}")
    messages.get_message(timeout=5)
    queue.enqueue(batch_id)
    assert turns.run_once() is True
    assert snapshot(batch_id) == Snapshot(batch_id, 3, "completed", 2, 1, 2)
    assert emails(batch_id) == [("a@x.de", "processed", None), ("b@x.de", "failed", "has_b")]
    assert [messages.get_message(timeout=5)["data"] for _ in range(2)] == [
        f'{{"batchId":{batch_id},"revision":2,"status":"processing","processed":0,"failed":0,"total":2}}',
        f'{{"batchId":{batch_id},"revision":3,"status":"completed","processed":2,"failed":1,"total":2}}',
    ]  # fmt: skip
    messages.close()
    assert queue.depth() == 0
    assert_books_balance()


def test_ids_of_nothing_are_no_ops(make_turns, queue, client):
    turns = make_turns(no_b)
    batch_id = store("a@x.de").batch_id
    queue.enqueue(batch_id)
    turns.run_once()
    client.lpush("email-queue", batch_id, 424242, "hello", -1)
    assert [turns.run_once() for _ in range(4)] == [False] * 4
    assert queue.depth() == 0
    assert snapshot(batch_id).revision == 3


def test_the_bell_rings_again_while_more_is_left_and_batches_take_turns(make_turns, queue):
    turns = make_turns(no_b)
    big = store(*addresses(6), chunk_size=2).batch_id
    small = store("a@x.de").batch_id
    queue.enqueue(big)
    queue.enqueue(small)
    assert turns.run_once()
    assert snapshot(big).processed == 2
    assert turns.run_once()
    assert snapshot(small).status == "completed"
    assert turns.run_once()
    assert turns.run_once()
    assert snapshot(big).status == "completed"
    assert_books_balance()


def test_a_slow_processor_yields_after_its_turn_and_goes_on_in_the_next(make_turns, queue):
    @one_by_one
    def slow(address):
        threading.Event().wait(0.03)

    turns = make_turns(slow, worker__turn_seconds=0.05)
    batch_id = store(*addresses(6)).batch_id
    queue.enqueue(batch_id)
    turns.run_once()
    assert 0 < snapshot(batch_id).processed < 6
    assert_books_balance()
    assert queue.depth() == 1
    while turns.run_once():
        assert_books_balance()
        assert queue.depth() <= 1
    assert snapshot(batch_id).status == "completed"


def test_all_threads_help_on_one_batch(make_turns, queue):
    together = threading.Barrier(3)

    @one_by_one
    def meet(address):
        together.wait(10)  # passes only when three threads are inside

    turns = make_turns(meet)
    batch_id = store(*addresses(3), chunk_size=1).batch_id
    queue.enqueue(batch_id)
    threads = [threading.Thread(target=turns.run_once) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert snapshot(batch_id) == Snapshot(batch_id, 5, "completed", 3, 0, 3)


def test_errors_of_a_processor_are_logged_once_a_batch(make_turns, queue, caplog):
    @one_by_one
    def broken(address):
        raise ValueError("no such thing")

    turns = make_turns(broken)
    batch_id = store(*addresses(5), chunk_size=2).batch_id
    queue.enqueue(batch_id)
    while turns.run_once():
        pass
    assert snapshot(batch_id) == Snapshot(batch_id, 5, "completed", 5, 5, 5)
    assert {reason for _, _, reason in emails(batch_id)} == {"error"}
    logged = [record for record in caplog.records if record.levelno >= logging.ERROR]
    assert [record.getMessage() for record in logged] == [
        f"processor failed batch={batch_id} error=ValueError"
    ]
    assert logged[0].exc_info[1].args == ("no such thing",)


def test_a_turn_that_dies_leaves_no_trace_and_the_bell_rung(make_turns, queue):
    @one_by_one
    def fatal(address):
        raise SystemExit

    batch_id = store("a@x.de").batch_id
    queue.enqueue(batch_id)
    with pytest.raises(SystemExit):
        make_turns(fatal).run_once()
    assert emails(batch_id) == [("a@x.de", "pending", None)]
    assert queue.depth() == 1
    assert make_turns(no_b).run_once()
    assert snapshot(batch_id).status == "completed"
    assert_books_balance()


def test_a_batch_cancelled_during_a_turn_keeps_what_was_counted_before(make_turns, queue):
    batch_id = store("a@x.de").batch_id

    @one_by_one
    def cancel(address):
        worker_thread = threading.Thread(target=cancel_batch)
        worker_thread.start()
        worker_thread.join()

    def cancel_batch():
        with models.database.connection_context():
            models.database.execute_sql(
                "UPDATE batch SET status = 'cancelled', completed_at = now() WHERE id = %s",
                (batch_id,),
            )

    queue.enqueue(batch_id)
    make_turns(cancel).run_once()
    assert emails(batch_id) == [("a@x.de", "pending", None)]
    assert snapshot(batch_id).status == "cancelled"
    assert queue.depth() == 0


def test_the_sweep_rings_for_every_unfinished_batch_once(make_turns, queue):
    turns = make_turns(no_b)
    lost, rung = store("a@x.de").batch_id, store("b@x.de").batch_id
    done = store("c@x.de").batch_id
    queue.enqueue(done)
    turns.run_once()
    queue.enqueue(rung)
    for _ in range(3):
        turns.sweep()
    assert [queue.dequeue(0.1) for _ in range(3)] == [rung, lost, None]


def test_without_redis_work_is_found_in_postgres_and_all_batches_take_turns(
    make_turns, tmp_path, caplog
):
    nobody = batchqueue.connect(f"unix://{tmp_path}/nobody.sock")
    turns = make_turns(no_b, client=nobody)
    ids = [store(*addresses(4), chunk_size=2).batch_id for _ in range(2)]
    turns.sweep()
    assert turns.run_once()
    assert turns.run_once()
    assert [snapshot(batch_id).processed for batch_id in ids] == [2, 2]
    assert turns.run_once()
    assert turns.run_once()
    assert {snapshot(batch_id).status for batch_id in ids} == {"completed"}
    assert not turns.run_once()
    unreachable = [message for message in caplog.messages if "unreachable" in message]
    assert len(unreachable) == 1
    assert "server=redis" in unreachable[0]
    nobody.close()
    assert_books_balance()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_the_supervisor_replaces_a_thread_that_died_and_announces_itself(
    make_turns, make_settings, client, queue, caplog
):
    deadly = threading.Event()
    deadly.set()

    @one_by_one
    def deadly_once(address):
        if deadly.is_set():
            deadly.clear()
            raise SystemExit

    settings = make_settings(worker__threads=2, worker__sweep_seconds=0.2)
    stopping = threading.Event()
    turns = make_turns(deadly_once)
    turns._stopping = stopping
    supervisor = Supervisor(settings, client, turns, stopping)
    batch_id = store("a@x.de").batch_id
    main = threading.Thread(target=supervisor.run)
    main.start()
    eventually(lambda: snapshot(batch_id).status == "completed")
    eventually(lambda: any("thread died" in message for message in caplog.messages))
    assert len(client.keys("email-queue:worker:*")) == 1
    stopping.set()
    main.join()
    assert client.keys("email-queue:worker:*") == []
    assert_books_balance()


def test_a_thread_that_hangs_does_not_hold_up_the_end(make_turns, make_settings, client, queue):
    hanging, release = threading.Event(), threading.Event()

    @one_by_one
    def hang(address):
        hanging.set()
        release.wait(60)

    settings = make_settings(worker__threads=1, worker__shutdown_seconds=0.3)
    stopping = threading.Event()
    turns = make_turns(hang)
    turns._stopping = stopping
    queue.enqueue(store("a@x.de").batch_id)
    supervisor = Supervisor(settings, client, turns, stopping)
    clean = []
    main = threading.Thread(target=lambda: clean.append(supervisor.run()))
    main.start()
    assert hanging.wait(20)
    began = time.monotonic()
    stopping.set()
    main.join()
    assert clean == [False]
    assert time.monotonic() - began < 5
    release.set()
    eventually(lambda: query("SELECT status FROM batch") == [("completed",)])


def test_the_default_processor_is_the_syntax_check(make_turns, queue, make_settings):
    turns = make_turns(processors.load(make_settings().worker.processor))
    batch_id = store("a@example.com", "a@@example.com").batch_id
    queue.enqueue(batch_id)
    turns.run_once()
    assert emails(batch_id) == [
        ("a@example.com", "processed", None),
        ("a@@example.com", "failed", "bad_domain"),
    ]
