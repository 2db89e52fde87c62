"""Work that must not be repeated, with workers and PostgreSQL killed and stopped."""

import contextlib
import random
import signal
from collections import Counter

import psycopg2
import pytest

from harness.batches import store
from harness.books import assert_books_balance, emails, snapshot
from harness.outages import completed
from harness.polling import eventually

THREADS, FAULTS = 3, 12
KINDS = {7: "later", 11: "bad"}
ADDRESSES = [f"{KINDS.get(n % 13, 'user')}{n}@x.de" for n in range(1500)]
SETTINGS = {
    "worker__processor": "recording:recorded",
    "worker__turn_seconds": 0.2,
    "worker__turn_timeout_seconds": 2,
    "worker__sweep_seconds": 1,
}

# Each call appends its key to a file, by a system call that is done or not when the process dies.
RECORDING = """
import os, time
from processors import later, once, per_item

calls = os.open({path!r}, os.O_WRONLY | os.O_APPEND | os.O_CREAT)

def record(item):
    os.write(calls, item.key.encode() + b"\\n")
    time.sleep(0.01)
    if item.address.startswith("later") and item.round < 3:
        return later("unknown", 0.2)
    return "bad" if item.address.startswith("bad") else None

recorded = once(per_item(record))
"""


@pytest.fixture
def calls(tmp_path):
    """The file with the keys of all calls."""
    path = tmp_path / "calls"
    (tmp_path / "recording.py").write_text(RECORDING.format(path=str(path)))
    return path


def test_no_email_is_handed_out_twice_whatever_worker_is_killed_or_stopped(
    processes, database, calls
):
    def start():
        return processes("worker.py", "--threads", str(THREADS), **SETTINGS)

    drawn = random.Random(1)
    batch_id = store(*ADDRESSES, chunk_size=100).batch_id
    workers, stopped = [start(), start()], []
    for number in range(FAULTS):
        at, next_at = drawn.randrange(2), snapshot(batch_id).processed + drawn.randrange(60)
        eventually(lambda next_at=next_at: snapshot(batch_id).processed > next_at)
        if number % 3 < 2:
            workers[at].stop(signal.SIGKILL)
        else:
            # It goes on when its turns have long been taken over.
            workers[at].send(signal.SIGSTOP)
            stopped.append(workers[at])
        workers[at] = start()
        if len(stopped) == 2:
            stopped.pop(0).send(signal.SIGCONT)
    for each in stopped:
        each.send(signal.SIGCONT)
    eventually(lambda: snapshot(batch_id).status == "completed", 100)
    assert_books_balance()
    assert_accounted(emails(batch_id), calls, THREADS * FAULTS)


@pytest.mark.parametrize("own", ["postgres"], indirect=True)
def test_no_email_is_handed_out_twice_when_postgres_is_killed(start, own, client, calls):
    site = start("app.py", worker__chunk_size=100).site()
    start("worker.py", "--threads", str(THREADS), **SETTINGS)
    content = "".join(f"{address}\n" for address in ADDRESSES[:600]).encode()
    batch_id = site.upload(content).json["batchId"]
    path = f"/api/batches/{batch_id}"
    for done in (100, 200, 300):
        eventually(lambda: site.get("/api/batches").json["batches"][0]["processedCount"] > done)  # noqa: B023
        with own.down():
            eventually(lambda: site.get(path).status == 503)
        eventually(lambda: site.get(path).status == 200, 60)
    eventually(lambda: completed(site, batch_id), 100)
    with contextlib.closing(psycopg2.connect(own.url)) as connection:
        cursor = connection.cursor()
        cursor.execute("SELECT email, status, reason FROM email ORDER BY id")
        assert_accounted(cursor.fetchall(), calls, 3 * THREADS)


def assert_accounted(rows, calls, most_interrupted):
    """No key was called twice; each call is an outcome or interrupted; each outcome was called.

    `rows` has address, status and reason of each email.
    """
    keys = Counter(calls.read_text().split())
    assert [key for key, number in keys.items() if number > 1] == []
    called = Counter(int(key.split("-e")[1].split("-")[0]) for key in keys)
    interrupted = 0
    for number, (address, status, reason) in enumerate(rows, start=1):
        rounds = 3 if address.startswith("later") else 1
        if reason == "interrupted":
            interrupted += 1
            assert called[number] <= rounds
            continue
        assert called[number] == rounds, f"email {number}, {address}: {status}, {reason}"
        expected = ("failed", "bad") if address.startswith("bad") else ("processed", None)
        assert (status, reason) == expected
    assert interrupted <= most_interrupted
