"""A rate is held by many threads of several workers, with Redis and without it."""

import time
from bisect import bisect_right

import pytest

from batches import changes
from batches.intake import Upload
from harness.batches import store
from harness.books import assert_books_balance, snapshot
from harness.polling import eventually
from postgres.database import session

ADDRESSES = [f"u{number}@x.de" for number in range(400)]
# Records the time of each call on the clock that all workers share.
RECORDER = """
import os, time
from processors import one_by_one

@one_by_one
def record(address):
    if address.startswith("u"):
        with open({path!r}, "ab", buffering=0) as file:
            file.write(b"%.6f\\n" % time.monotonic())
"""


@pytest.mark.parametrize("own", ["redis"], indirect=True)
def test_a_rate_is_held_by_all_workers_and_evenly_while_redis_is_killed(
    start, own, database, tmp_path
):
    calls = tmp_path / "calls"
    calls.touch()
    (tmp_path / "recorder.py").write_text(RECORDER.format(path=str(calls)))

    def times():
        return [float(line) for line in calls.read_text().split()]

    for _ in range(4):
        start("worker.py", "--threads", "16", worker__processor="recorder:record").await_line(
            "worker started"
        )
    rated = store(*ADDRESSES, upload=Upload(per_minute=600)).batch_id
    eventually(lambda: len(times()) >= 100, 60)
    with own.down():
        beside = store(*[f"beside{number}@x.de" for number in range(3000)]).batch_id
        eventually(lambda: snapshot(beside).status == "completed", 10)
        eventually(lambda: times()[-1] - times()[0] > 30, 60)
        with session():
            changes.pause(rated)
        before = len(times())
        eventually(lambda: time.monotonic() - times()[-1] > 1.5, 10)
    found = sorted(times())
    assert len(found) == before  # none after the pause
    in_half = bisect_right(found, found[0] + 30)
    most = max(bisect_right(found, at + 10) - place for place, at in enumerate(found))
    # A call is noted when it is made, which on a busy machine is later than when it is allowed. If
    # each worker had the rate for itself, or without Redis none, it would be far more.
    assert 240 <= in_half <= 330
    assert most <= 130
    assert_books_balance()


def test_the_rate_of_a_processor_holds_for_all_its_batches(processes, database, tmp_path):
    calls = tmp_path / "calls"
    calls.touch()
    (tmp_path / "recorder.py").write_text(RECORDER.format(path=str(calls)))
    settings = {"worker__processor": "recorder:record", "recorder__per_minute": "600"}
    for _ in range(2):
        processes("worker.py", "--threads", "4", **settings).await_line("worker started")
    batches = [store(*ADDRESSES[:100]).batch_id for _ in range(2)]
    eventually(lambda: calls.read_text().count("\n") >= 60, 30)
    found = sorted(float(line) for line in calls.read_text().split())
    assert max(bisect_right(found, at + 3) - place for place, at in enumerate(found)) <= 50
    assert all(snapshot(batch_id).processed for batch_id in batches)
    assert_books_balance()
