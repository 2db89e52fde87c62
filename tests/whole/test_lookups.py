"""A worker that looks domains up, with a nameserver of the tests' own."""

import time

from harness.batches import store
from harness.books import emails
from harness.polling import eventually


def test_a_worker_stores_what_the_nameserver_says(processes, client, nameserver):
    nameserver.mx("good.example.net")
    nameserver.mx("null.example.net", ".")
    nameserver.lie("silent.example.net", "silence")
    names = ("good", "null", "silent", "missing")
    batch_id = store(*(f"a@{name}.example.net" for name in names), "info@good.example.net").batch_id
    worker = processes(
        "worker.py",
        check__dns="on",
        check__nameservers=nameserver.address,
        check__timeout_seconds=4,
        worker__later_rounds=2,
    )
    worker.await_line("batch completed")
    assert emails(batch_id) == [
        ("a@good.example.net", "processed", None),
        ("a@null.example.net", "failed", "null_mx"),
        ("a@silent.example.net", "processed", "dns_timeout"),
        ("a@missing.example.net", "failed", "no_such_domain"),
        ("info@good.example.net", "processed", "role_account"),
    ]


def test_a_worker_that_waits_for_lookups_stops_in_good_order(processes, client, nameserver):
    changes = {"check__nameservers": nameserver.address, "check__timeout_seconds": 2}
    worker = processes("worker.py", check__dns="on", check__concurrency=100, **changes)
    worker.await_line("dns lookups are on")
    nameserver.silent = True
    store(*(f"a@d{number}.example.net" for number in range(3000)))
    eventually(lambda: any(name.endswith(".example.net") for name, _ in [*nameserver.asked]))
    began = time.monotonic()
    assert worker.stop() == 0
    # For all of them, a hundred at a time, it would take a minute.
    assert time.monotonic() - began < 30


def test_a_worker_that_is_stopped_before_it_has_begun_stops_in_good_order(
    processes, client, nameserver
):
    nameserver.silent = True
    changes = {"check__nameservers": nameserver.address, "check__timeout_seconds": 1}
    worker = processes("worker.py", check__dns="auto", **changes)
    eventually(lambda: nameserver.asked)  # whether it answers, before anything else
    assert worker.stop() == 0
