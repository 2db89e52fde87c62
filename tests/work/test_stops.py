"""Processors that raise Stop: the batch pauses itself, and no outcome or email is lost by it."""

import threading
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest

from batches import changes, claims, snapshots
from harness.batches import CHECK, lose_turn, store
from harness.books import assert_books_balance, emails, query, snapshot
from harness.polling import eventually
from postgres.database import session
from processors import Stop, later, one_by_one
from relay import publish
from work.turns import MAX_LOST, Turns

ADDRESSES = ["a@x.de", "b@x.de", "c@x.de", "d@x.de"]


@pytest.fixture(autouse=True)
def no_time_to_claim(monkeypatch):
    """Let a turn begin on a chunk at once whose last turn was lost."""
    monkeypatch.setattr(claims, "CLAIM_SECONDS", 0)


def stops_at(name, *arguments):
    """A processor that raises Stop at one address until its attribute `mended` is set."""

    @one_by_one
    def stops(address):
        if address.startswith(name) and not stops.mended:
            raise Stop(*arguments)
        return "has_a" if address.startswith("a") else None

    stops.mended = False
    return stops


def actions(batch_id):
    """The kinds of the batch's actions, each with who did it, or why the processor did."""
    sql = "SELECT kind, coalesce(user_name, why) FROM action WHERE batch_id = %s ORDER BY id"
    return query(sql, batch_id)


def stop_lines(caplog):
    return [line for line in caplog.messages if line.startswith("stopped by the processor")]


def test_what_was_found_is_kept_and_the_rest_waits_until_somebody_resumes_it(
    make_turns, queue, caplog
):
    processor = stops_at("c", "Wrong password.")
    turns = make_turns(processor)
    batch_id = store(*ADDRESSES).batch_id
    queue.enqueue(batch_id)
    turns.run_once()
    found = snapshot(batch_id)
    assert (found.status, found.processed, found.reasons) == ("processing", 2, {"has_a": 1})
    assert found.paused == {
        "by": None,
        "at": found.paused["at"],
        "why": "Wrong password.",
        "until": None,
    }
    assert [status for _, status, _ in emails(batch_id)] == [
        *("failed", "processed", "pending", "pending")
    ]
    assert actions(batch_id) == [("paused", "Wrong password.")]
    assert stop_lines(caplog) == [
        "stopped by the processor; the batch is paused"
        f' batch={batch_id} why="Wrong password." seconds=None'
    ]
    assert_books_balance()
    queue.enqueue(batch_id)
    assert not any(turns.run_once() for _ in range(3))
    processor.mended = True
    with session():
        changes.resume(batch_id)
    queue.enqueue(batch_id)
    while turns.run_once():
        pass
    assert snapshot(batch_id).status == "completed"
    assert_books_balance()


def test_a_stop_at_the_first_email_is_no_lost_turn_however_often(make_turns, queue):
    processor = stops_at("a", "Blocked")
    turns = make_turns(processor)
    batch_id = store(*ADDRESSES).batch_id
    for _ in range(MAX_LOST + 1):
        queue.enqueue(batch_id)
        assert turns.run_once()
        assert query("SELECT attempts, redone, done FROM chunk") == [(0, 0, 0)]
        with session():
            changes.resume(batch_id)
    assert actions(batch_id) == [("paused", "Blocked"), ("resumed", None)] * 3
    assert_books_balance()
    processor.mended = True
    queue.enqueue(batch_id)
    turns.run_once()
    assert snapshot(batch_id).status == "completed"


def test_turns_that_were_lost_before_a_stop_stay_lost(make_turns, queue):
    batch_id = store(*ADDRESSES).batch_id
    with session():
        lose_turn(batch_id)
    queue.enqueue(batch_id)
    make_turns(stops_at("a", "Blocked")).run_once()
    assert query("SELECT attempts, redone FROM chunk") == [(0, 1)]


@pytest.mark.parametrize("name", ["a", "b"])
def test_it_is_published_and_goes_on_after_its_seconds(make_services, queue, client, name):
    batch_id = store(*ADDRESSES).batch_id
    queue.enqueue(batch_id)
    services = make_services(stops_at(name, "Quota used up", 3600))

    def last():
        services.publisher.flush()
        found = messages.get_message(timeout=1)
        return found and found["type"] == "message" and publish.parse(found["data"])

    with client.pubsub() as messages:
        messages.subscribe(f"batch:status:{batch_id}")
        Turns(services, 1).run_once()
        eventually(lambda: last() == snapshot(batch_id))
    until = datetime.fromisoformat(snapshot(batch_id).paused["until"])
    assert timedelta(minutes=59) < until - datetime.now(UTC) < timedelta(minutes=61)
    query("UPDATE batch SET resume_at = now() RETURNING 1")
    with session():
        assert [each.paused for each in changes.resume_due()] == [None]


def test_emails_that_have_waited_stay_in_their_round(make_turns, queue):
    answers = [later("dns_timeout", 0.01), Stop("Blocked"), later("dns_timeout", 0.01), None]
    rounds = []

    @one_by_one
    def asks(address):
        rounds.extend(query("SELECT rounds FROM chunk"))
        answer = answers.pop(0)
        if isinstance(answer, Stop):
            raise answer
        return answer

    turns = make_turns(asks)
    batch_id = store("a@x.de").batch_id

    def turn():
        with session():
            changes.resume(batch_id)
            queue.enqueue(*snapshots.unfinished_batches(CHECK))
        turns.run_once()
        assert_books_balance()
        return len(answers) == 0

    eventually(turn)
    assert rounds == [(0,), (1,), (1,), (2,)]
    assert snapshot(batch_id).status == "completed"


def test_the_emails_that_are_put_off_before_it_wait(make_turns, queue):
    @one_by_one
    def asks(address):
        if address.startswith("b"):
            raise Stop("Blocked")
        return later("dns_timeout", 3600)

    batch_id = store(*ADDRESSES).batch_id
    queue.enqueue(batch_id)
    make_turns(asks).run_once()
    found = snapshot(batch_id)
    assert (found.waiting, found.processed, found.paused["why"]) == (1, 0, "Blocked")
    chunks = query("SELECT first_id, rounds, due_at IS NOT NULL FROM chunk ORDER BY 1")
    assert chunks == [(1, 1, True), *((first, 0, False) for first in (2, 3, 4))]
    assert_books_balance()


def test_a_function_of_lines_may_raise_it(make_turns, queue):
    def of_lines(text):
        if "c@" in text:
            raise Stop("Blocked")
        return {}

    processor = SimpleNamespace(of_lines=of_lines, at_once=10)
    batch_id = store(*ADDRESSES).batch_id
    queue.enqueue(batch_id)
    make_turns(processor).run_once()
    found = snapshot(batch_id)
    assert (found.processed, found.failed, found.paused["why"]) == (2, 0, "Blocked")
    assert_books_balance()


@pytest.mark.parametrize(("name", "processed"), [("a", 0), ("c", 2)])
def test_in_isolation_too(make_turns, queue, tmp_path, monkeypatch, name, processed):
    (tmp_path / "stopping.py").write_text(
        "from processors import Stop, one_by_one\n"
        "@one_by_one\n"
        "def stop(address):\n"
        f'    if address.startswith("{name}"):\n'
        '        raise Stop("Quota used up", 3600)\n'
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    batch_id = store(*ADDRESSES).batch_id
    with session():
        for _ in range(MAX_LOST):
            lose_turn(batch_id)
    queue.enqueue(batch_id)
    make_turns(stops_at("none"), worker__processor="stopping:stop").run_once()
    found = snapshot(batch_id)
    assert (found.processed, found.failed, found.paused["why"]) == (processed, 0, "Quota used up")
    assert found.paused["until"]
    assert query("SELECT attempts FROM chunk WHERE first_id = 1") == [(0,)]
    assert_books_balance()


def test_threads_that_stop_at_the_same_moment_pause_it_once(make_services, queue, caplog):
    together = threading.Barrier(4)

    @one_by_one
    def meet(address):
        together.wait(20)  # passes only when all threads are inside
        raise Stop("Blocked")

    services = make_services(meet)
    batch_id = store(*ADDRESSES, chunk_size=1).batch_id
    queue.enqueue(batch_id)
    turns = [Turns(services, number) for number in range(1, 5)]
    # Each until it has had its turn: a busy machine may take a second until it rings.
    threads = [threading.Thread(target=eventually, args=(each.run_once,)) for each in turns]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert actions(batch_id) == [("paused", "Blocked")]
    assert len(stop_lines(caplog)) == 1
    assert query("SELECT attempts, redone FROM chunk") == [(0, 0)] * 4
    assert_books_balance()


@pytest.fixture
def stop_after(make_turns, queue, caplog):
    """Let a person change the batch while its turn is under way, which then ends by a Stop."""

    def run(name, *requests):
        batch_id = store(*ADDRESSES).batch_id

        def change():
            with session():
                for request in requests:
                    request(batch_id, "anna")

        @one_by_one
        def changed(address):
            if address.startswith(name):
                person = threading.Thread(target=change)
                person.start()
                person.join()
                raise Stop("Blocked", 10)

        queue.enqueue(batch_id)
        assert make_turns(changed).run_once()
        assert stop_lines(caplog) == []
        assert_books_balance()
        return batch_id

    return run


@pytest.mark.parametrize(("name", "processed"), [("a", 0), ("b", 1)])
def test_a_persons_pause_stays(stop_after, name, processed):
    batch_id = stop_after(name, changes.pause)
    found = snapshot(batch_id)
    assert (found.processed, found.paused["by"], found.paused["until"]) == (processed, "anna", None)
    assert actions(batch_id) == [("paused", "anna")]
    assert query("SELECT DISTINCT attempts FROM chunk") == [(0,)]


@pytest.mark.parametrize("name", ["a", "b"])
def test_a_batch_that_is_cancelled_or_deleted_stays_so(stop_after, name):
    batch_id = stop_after(name, changes.cancel)
    found = snapshot(batch_id)
    assert (found.status, found.processed, found.paused) == ("cancelled", 0, None)
    batch_id = stop_after(name, changes.cancel, changes.delete)
    assert actions(batch_id) == [("cancelled", "anna"), ("deleted", "anna")]
    assert query("SELECT paused_at FROM batch WHERE id = %s", batch_id) == [(None,)]


def test_a_wrong_stop_is_an_error_of_its_email(make_turns, queue, caplog):
    batch_id = store(*ADDRESSES).batch_id
    queue.enqueue(batch_id)
    make_turns(stops_at("c", "Blocked", 0)).run_once()
    assert [reason for _, _, reason in emails(batch_id)] == ["has_a", None, "error", None]
    assert snapshot(batch_id).status == "completed"
    assert f"processor failed batch={batch_id} error=ValueError" in caplog.messages


def test_a_worker_goes_on_by_itself_after_the_seconds(processes, tmp_path):
    (tmp_path / "quota.py").write_text(
        "from pathlib import Path\n"
        "from processors import Stop, one_by_one\n"
        "@one_by_one\n"
        "def check(address):\n"
        f'    used_up = Path("{tmp_path}/used_up")\n'
        '    if address.startswith("c") and not used_up.exists():\n'
        "        used_up.touch()\n"
        '        raise Stop("Quota used up", 1)\n'
    )
    batch_id = store(*ADDRESSES, chunk_size=2).batch_id
    worker = processes("worker.py", "--threads", "2", worker__processor="quota:check")
    worker.await_line('the batch is paused" batch=1 why="Quota used up" seconds=1.0')
    eventually(lambda: snapshot(batch_id).status == "completed")
    assert actions(batch_id) == [("paused", "Quota used up"), ("resumed", None)]
    assert [status for _, status, _ in emails(batch_id)] == ["processed"] * 4
    assert query("SELECT attempts, redone FROM chunk") == [(0, 0)] * 2
    assert_books_balance()
