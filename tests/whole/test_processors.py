"""Three processors, and workers that have different ones: who does what, and that none starves."""

from harness.books import assert_books_balance, query, snapshot
from harness.files import csv_of
from harness.polling import eventually

NAMES = ("crm", "send", "tag")
# The processors of each worker.
WORKERS = (("crm", "send"), ("send", "tag"))
# Until there is a file `open`, each email of a huge batch takes so many seconds, so that the batch
# lasts longer than all waits of the test, however fast or slow the machine is.
HUGE, SECONDS = 5_000, 0.1

# Each says who it was, and in which process.
PROCESSORS = """
import os, time
from pathlib import Path
from processors import answered, in_windows, one_by_one, per_item

def done(by, address):
    if address.startswith("huge") and not Path({path!r}).exists():
        time.sleep({seconds})
    return answered(by=by, process=os.getpid())

@per_item
def crm(item):
    return done("crm", item.address)

@in_windows(2)
def send(items):
    return {{item.key: done("send", item.address) for item in items}}

@one_by_one
def tag(address):
    return done("tag", address)
"""


def doers(batch_id):
    """Who did the emails that have ended: pairs of a processor and a process."""
    return {
        (by, int(process))
        for by, process in query(
            "SELECT DISTINCT answers->>'by', answers->>'process' FROM email"
            " WHERE batch_id = %s AND status <> 'pending'",
            batch_id,
        )
    }


def all_are(status, batch_ids):
    return all(snapshot(each).status == status for each in batch_ids)


def test_each_batch_is_done_by_who_can_and_small_ones_while_huge_ones_of_all_last(
    processes, tmp_path
):
    text = PROCESSORS.format(path=str(tmp_path / "open"), seconds=SECONDS)
    (tmp_path / "three_of_tests.py").write_text(text)
    changes = {
        **{f"processors__{name}": f"three_of_tests:{name}" for name in NAMES},
        "worker__threads": 1,
        "worker__turn_seconds": 0.2,
        "worker__chunk_size": 500,
    }
    site = processes("app.py", **changes).site()
    who_can = {name: set() for name in NAMES}
    for names in WORKERS:
        worker = processes("worker.py", "--processors", ",".join(names), **changes)
        for name in names:
            who_can[name].add((name, worker.pid))

    def upload(name, kind, number):
        content = csv_of(*(f"{kind}{at}@x.de" for at in range(number)))
        return site.upload(content, processor=name).json["batchId"]

    huge = {name: upload(name, "huge", HUGE) for name in NAMES}
    eventually(lambda: all_are("processing", huge.values()), 60)
    small = [(name, upload(name, "small", 10)) for _ in range(5) for name in NAMES]
    eventually(lambda: all_are("completed", [each for _, each in small]), 60)
    # All who can take part, as long as it takes.
    eventually(lambda: {name: doers(each) for name, each in huge.items()} == who_can, 60)
    assert all_are("processing", huge.values())
    (tmp_path / "open").touch()
    eventually(lambda: all_are("completed", huge.values()), 60)
    for name, batch_id in (*huge.items(), *small):
        assert doers(batch_id) <= who_can[name]
    assert_books_balance()
