import itertools
import json
import logging
import threading

import pytest

import processors
from batches import claims
from batches.intake import Upload
from harness.batches import lose_turn, store
from harness.books import assert_books_balance, emails, query, snapshot
from harness.polling import eventually
from models import Snapshot
from postgres import database as database_module
from postgres.database import pool, session
from processors import answered, failed, one_by_one
from relay import publish
from relay.batch_queue import BatchQueue
from work import turns as turns_module
from work.turns import MAX_LOST


@one_by_one
def no_b(address):
    return "has_b" if address.startswith("b") else None


def addresses(count):
    return [f"user{number}@x.de" for number in range(count)]


def test_one_turn_takes_a_small_batch_from_pending_to_completed(make_turns, queue, client):
    turns = make_turns(no_b)
    batch_id = store("a@x.de", "b@x.de").batch_id
    messages = client.pubsub()
    messages.subscribe(f"batch:status:{batch_id}")
    messages.get_message(timeout=30)
    queue.enqueue(batch_id)
    assert turns.run_once() is True
    assert snapshot(batch_id) == Snapshot(batch_id, 3, "completed", 2, 1, 2, {"has_b": 1})
    assert emails(batch_id) == [("a@x.de", "processed", None), ("b@x.de", "failed", "has_b")]
    # Its beginning wasn't published, because its end came first.
    completed = Snapshot(batch_id, 3, "completed", 2, 1, 2, {"has_b": 1})
    assert messages.get_message(timeout=30)["data"] == publish.message(completed)
    messages.close()
    assert queue.depth() == 0
    assert_books_balance()


def test_ids_of_nothing_are_no_ops(make_turns, queue, client, caplog):
    turns = make_turns(no_b)
    batch_id = store("a@x.de").batch_id
    queue.enqueue(batch_id)
    turns.run_once()
    client.lpush("email-queue", batch_id, 424242, "hello", -1)
    assert [turns.run_once() for _ in range(4)] == [False] * 4
    assert caplog.messages == [
        "no such batch batch=424242",
        "not a batch id queue=email-queue value=hello",
    ]
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


def test_a_turn_ends_with_much_to_write_and_the_next_one_goes_on(make_turns, queue, monkeypatch):
    monkeypatch.setattr(turns_module, "MOST_TO_WRITE", 4)
    turns = make_turns(one_by_one(lambda address: answered(id=address[4])))
    batch_id = store(*addresses(6)).batch_id
    queue.enqueue(batch_id)
    assert turns.run_once()
    assert snapshot(batch_id).processed == 4
    assert turns.run_once()
    assert snapshot(batch_id).status == "completed"
    answers = [(n + 1, {"id": str(n)}) for n in range(6)]
    assert query("SELECT id, answers FROM email ORDER BY id") == answers
    assert_books_balance()


def test_all_threads_help_on_one_batch(make_turns, queue):
    together = threading.Barrier(3)

    @one_by_one
    def meet(address):
        together.wait(60)  # passes only when three threads are inside

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
    assert snapshot(batch_id) == Snapshot(batch_id, 5, "completed", 5, 5, 5, {"error": 5})
    assert {reason for _, _, reason in emails(batch_id)} == {"error"}
    logged = [record for record in caplog.records if record.levelno >= logging.ERROR]
    assert [record.getMessage() for record in logged] == [
        f"processor failed batch={batch_id} error=ValueError"
    ]
    assert logged[0].exc_info[1].args == ("no such thing",)


def test_a_wrong_reason_is_logged_once_for_each_batch_of_whichever_processor(
    make_turns, client, caplog
):
    @one_by_one
    def wordy(address):
        return f"Not staff, {address}"

    @one_by_one
    def yes(address):
        return True

    offered = {"processors__check": "check", "processors__crm": "crm:add"}
    turns = make_turns({"check": wordy, "crm": yes}, **offered)
    lists = BatchQueue(client, "email-queue", "check")
    ids = {}
    for name in ("check", "crm", "check", "crm"):
        batch_id = store(*addresses(3), chunk_size=2, upload=Upload(processor=name)).batch_id
        lists.enqueue(name, batch_id)
        ids[batch_id] = name
    while turns.run_once():
        pass
    for batch_id in ids:
        assert snapshot(batch_id).reasons == {"error": 3}
    said = {
        "check": "the reason 'Not staff, … is not allowed",
        "crm": "the reason True is not allowed",
    }
    logged = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert not any(record.exc_info for record in logged)
    found = {}
    for record in logged:
        event, _, error = record.getMessage().partition(" error=")
        told, _, batch_id = event.partition(" batch=")
        assert told.endswith("isn't allowed; such emails fail with the reason error")
        found[int(batch_id)] = json.loads(error)
    rule = "a reason has 1 to 40 characters, each of them a-z, 0-9 or _, as in not_staff"
    assert found == {batch_id: f"{said[name]}; {rule}" for batch_id, name in ids.items()}
    assert len(logged) == len(ids)
    assert_books_balance()


def test_a_processor_of_lines_gets_lines_and_what_they_cannot_say_is_asked_one_by_one(
    make_turns, queue, caplog
):
    asked = []

    @one_by_one
    def no_b(address):
        if address == "broken@x.de":
            raise ValueError("no such thing")
        return "has_b" if "b" in address else None

    def of_lines(text):
        asked.append(text)
        if "broken" in text:
            raise LookupError
        lines = text.split("\n")
        return {line: failed("has_b") for line, address in enumerate(lines) if "b" in address}

    no_b.of_lines = of_lines
    turns = make_turns(no_b)
    chunks = ["a@x.de", "b@x.de"], ["broken@x.de", "c@x.de"], ['"d\n@x.de"', "e@x.de"]
    batch_id = store(*itertools.chain(*chunks), chunk_size=2).batch_id
    queue.enqueue(batch_id)
    while turns.run_once():
        pass
    assert asked == ["a@x.de\nb@x.de", "broken@x.de\nc@x.de"]
    assert [reason for _, _, reason in emails(batch_id)] == [
        *(None, "has_b", "error", None, None, None)
    ]
    assert_books_balance()
    logged = [record for record in caplog.records if record.levelno >= logging.ERROR]
    assert [record.exc_info[1].args for record in logged] == [("no such thing",)]
    assert "the processor's of_lines failed" in caplog.text


def test_a_batch_that_is_paused_while_its_chunk_is_claimed_gets_no_outcomes(
    make_turns, queue, monkeypatch
):
    batch_id = store("a@x.de").batch_id
    begin = database_module.begin
    pause = f"UPDATE batch SET paused_at = now() WHERE id = {batch_id};"
    monkeypatch.setattr(database_module, "begin", lambda: pause + begin())
    queue.enqueue(batch_id)
    assert make_turns(no_b).run_once()
    assert emails(batch_id) == [("a@x.de", "pending", None)]
    assert query("SELECT attempts + redone FROM chunk") == [(0,)]


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
    queue.dequeue(0.1)
    turns = make_turns(no_b)

    def ring_and_run_once():  # as the sweep does, once the dead turn's time to claim is over
        queue.enqueue(batch_id)
        return turns.run_once()

    eventually(ring_and_run_once)
    assert snapshot(batch_id).status == "completed"
    assert query("SELECT attempts, redone FROM chunk") == [(0, 1)]
    assert_books_balance()


def test_a_batch_cancelled_during_a_turn_keeps_what_was_counted_before(make_turns, queue):
    batch_id = store("a@x.de").batch_id

    @one_by_one
    def cancel(address):
        worker_thread = threading.Thread(target=cancel_batch)
        worker_thread.start()
        worker_thread.join()

    def cancel_batch():
        with session():
            pool.execute_sql(
                "UPDATE batch SET status = 'cancelled', completed_at = now() WHERE id = %s",
                (batch_id,),
            )

    queue.enqueue(batch_id)
    make_turns(cancel).run_once()
    assert emails(batch_id) == [("a@x.de", "pending", None)]
    assert snapshot(batch_id).status == "cancelled"
    assert queue.depth() == 0


def test_without_redis_work_is_found_in_postgres_and_all_batches_take_turns(
    make_turns, no_redis, caplog
):
    turns = make_turns(no_b, no_redis)
    ids = [store(*addresses(4), chunk_size=2).batch_id for _ in range(2)]
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
    assert_books_balance()


def test_the_default_processor_is_the_check(make_turns, queue, make_settings):
    settings = make_settings()
    turns = make_turns(
        processors.load(settings.worker.processor, settings.default_processor.options)
    )
    batch_id = store("a@example.com", "a@@example.com").batch_id
    queue.enqueue(batch_id)
    turns.run_once()
    assert emails(batch_id) == [
        ("a@example.com", "processed", None),
        ("a@@example.com", "failed", "bad_domain"),
    ]


def test_an_isolated_turn_looks_domains_up_as_the_worker_does_though_no_nameserver_answers(
    make_turns, make_settings, queue, nameserver, monkeypatch
):
    changes = {"check__dns": "auto", "check__nameservers": nameserver.address}
    check = processors.load("check", make_settings(**changes).default_processor.options)
    nameserver.silent = True
    monkeypatch.setattr(claims, "CLAIM_SECONDS", 0)
    batch_id = store("a@example.net").batch_id
    with session():
        for _ in range(MAX_LOST):
            lose_turn(batch_id)
    queue.enqueue(batch_id)
    assert make_turns(check, **changes).run_once()
    check.lookups.close()
    assert emails(batch_id) == [("a@example.net", "pending", None)]
    assert snapshot(batch_id).waiting == 1
