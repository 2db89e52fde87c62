"""Workers and app killed, hung, frozen and stopped, as processes."""

import os
import re
import resource
import shlex
import signal
import socket
import subprocess
import sys
import time

import psutil
import pytest

from harness.batches import store
from harness.books import assert_books_balance, emails, query, snapshot
from harness.config import ROOT, write_config
from harness.files import csv_of
from harness.polling import eventually
from harness.processes import Running
from harness.processors import write_slow_processor

POISON = """
import os, re, signal, time
from processors import one_by_one

@one_by_one
def poison(address):
    kind = address.partition("@")[0]
    if kind == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if kind == "hang":
        time.sleep(600)
    if kind == "freeze":  # holds the interpreter, so that no other thread runs
        re.match(r"(a+)+$", "a" * 64 + "b")
    if kind == "bad":
        return "bad"
"""


@pytest.fixture
def poison(tmp_path):
    (tmp_path / "poison.py").write_text(POISON)
    return "poison:poison"


class Loop(Running):
    """A shell that starts a command again whenever it ends, as a service manager would."""

    def __init__(self, command, environment):
        loop = f"trap 'exit 0' TERM; while :; do {shlex.join(command)}; done"
        super().__init__(["/bin/sh", "-c", loop], environment)

    def stop(self):
        """End all, and return how often the command was started, and all output."""
        if self.alive:
            children = psutil.Process(self.pid).children()
            self.send(signal.SIGTERM)
            for child in children:
                child.terminate()
        self.wait(60)
        return self.output.count("worker started"), self.output


@pytest.fixture
def loop(processes, servers, tmp_path):
    loops = []

    def start(*arguments, **changes):
        config = str(write_config(tmp_path, **changes))
        command = [sys.executable, str(ROOT / "worker.py"), "--config", config, *arguments]
        loops.append(Loop(command, os.environ | servers.environment))
        return loops[-1]

    yield start
    for each in loops:
        each.stop()


def expect_all_but(batch_id, culprits):
    """Every email was processed but the culprits, which failed with these reasons."""
    for address, status, reason in emails(batch_id):
        kind = address.partition("@")[0]
        assert (status, reason) == (
            ("failed", culprits[kind]) if kind in culprits else ("processed", None)
        )
    assert_books_balance()


def test_an_address_that_kills_the_worker_is_found_and_all_others_are_processed(
    loop, database, poison
):
    addresses = [f"user{number}@x.de" for number in range(10_000)]
    addresses[1234] = "kill@x.de"
    addresses[7777] = "kill@y.de"
    batch_id = store(*addresses).batch_id
    workers = loop("--threads", "4", worker__processor=poison)
    eventually(lambda: snapshot(batch_id).status == "completed", 100)
    starts, output = workers.stop()
    expect_all_but(batch_id, {"kill": "worker_crashed"})
    assert starts <= 8, output
    # Further batches are none the wiser: they are processed without a child.
    assert query("SELECT sum(attempts) FROM chunk") == [(0,)]


@pytest.mark.parametrize("kind", ["hang", "freeze"])
def test_an_address_on_which_the_processor_never_returns_is_found(loop, database, poison, kind):
    addresses = [f"user{number}@x.de" for number in range(300)]
    addresses[100] = f"{kind}@x.de"
    batch_id = store(*addresses, chunk_size=100).batch_id
    workers = loop(
        "--threads",
        "2",
        worker__processor=poison,
        worker__turn_seconds=0.2,
        worker__turn_timeout_seconds=1,
    )
    eventually(lambda: snapshot(batch_id).status == "completed", 100)
    _, output = workers.stop()
    expect_all_but(batch_id, {kind: "timed_out"})
    if kind == "freeze":
        assert 'File "' in output  # the traceback that says where


def test_threads_that_hang_again_and_again_make_way_for_a_fresh_process(
    processes, database, poison
):
    for _ in range(4):
        store("hang@x.de", "good@x.de")
    worker = processes(
        "worker.py",
        "--threads",
        "1",
        worker__processor=poison,
        worker__turn_seconds=0.1,
        worker__turn_timeout_seconds=0.3,
        worker__shutdown_seconds=1,
    )
    unfinished = "SELECT count(*) FROM batch WHERE completed_at IS NULL"
    eventually(lambda: query(unfinished) == [(0,)], 90)
    starts = [line for line in worker.lines if "worker started" in line]
    assert len(starts) >= 2
    assert {re.search(r"pid=(\d+)", line)[1] for line in starts} == {str(worker.pid)}
    for batch_id in range(1, 5):
        expect_all_but(batch_id, {"hang": "timed_out"})
    assert worker.stop() in (0, 1)


def test_a_worker_whose_machine_is_unplugged_frees_its_chunk(processes, database, tmp_path):
    """A stopped process answers as little as an unplugged machine: only the server can tell."""
    slow = write_slow_processor(tmp_path, milliseconds=5)
    changes = {
        "worker__processor": slow,
        "worker__turn_seconds": 0.5,
        "worker__turn_timeout_seconds": 1.5,
    }
    batch_id = store(*(f"user{number}@x.de" for number in range(400)), chunk_size=100).batch_id
    unplugged = processes("worker.py", "--threads", "1", **changes)
    eventually(lambda: query("SELECT sum(attempts) FROM chunk") == [(1,)])
    unplugged.send(signal.SIGSTOP)
    began = time.monotonic()
    processes("worker.py", "--threads", "4", **changes)
    eventually(lambda: snapshot(batch_id).status == "completed", 60)
    assert time.monotonic() - began < 30
    unplugged.send(signal.SIGCONT)
    assert unplugged.stop() == 0
    expect_all_but(batch_id, {})


def test_a_dead_workers_chunk_is_taken_up_at_once(processes, database, tmp_path):
    slow = write_slow_processor(tmp_path, milliseconds=5)
    # Nobody waits until the dead one's turn counts as hung.
    changes = {
        "worker__processor": slow,
        "worker__turn_seconds": 10,
        "worker__turn_timeout_seconds": 600,
    }
    dying, other = (processes("worker.py", "--threads", "1", **changes) for _ in range(2))
    for worker in (dying, other):
        worker.await_line("worker started")
    # One chunk only, which the other can't take as long as it is stopped.
    other.send(signal.SIGSTOP)
    batch_id = store(*(f"user{number}@x.de" for number in range(200))).batch_id
    eventually(lambda: query("SELECT sum(attempts) FROM chunk") == [(1,)])
    other.send(signal.SIGCONT)
    dying.stop(signal.SIGKILL)
    eventually(lambda: snapshot(batch_id).status == "completed", 60)
    expect_all_but(batch_id, {})


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
def test_a_second_signal_ends_the_worker_at_once(processes, database, poison, signum):
    batch_id = store("hang@x.de").batch_id
    worker = processes("worker.py", worker__processor=poison, worker__shutdown_seconds=100)
    eventually(lambda: snapshot(batch_id).status == "processing")
    worker.send(signum)
    worker.await_line("stopping")
    began = time.monotonic()
    assert worker.stop(signum) == 128 + signum
    assert time.monotonic() - began < 50
    assert emails(batch_id) == [("hang@x.de", "pending", None)]


def test_a_worker_does_not_wait_longer_than_it_is_told(processes, database, poison):
    store("hang@x.de")
    worker = processes("worker.py", worker__processor=poison, worker__shutdown_seconds=0.5)
    eventually(lambda: query("SELECT status FROM batch") == [("processing",)])
    began = time.monotonic()
    assert worker.stop() == 1
    assert time.monotonic() - began < 30
    assert "turns unfinished; they will be repeated" in worker.output


def half_an_upload(site, length=1_000_000):
    """Send the head of an upload and half of its file; the socket, which stays open."""
    body = csv_of(*(f"user{number}@example.com" for number in range(length // 25)))
    head = (
        "POST /api/upload HTTP/1.1\r\nHost: localhost\r\n"
        "Content-Type: multipart/form-data; boundary=b\r\n"
        f"Content-Length: {2 * len(body)}\r\n\r\n"
        '--b\r\nContent-Disposition: form-data; name="file"; filename="half.csv"\r\n\r\n'
    )
    connection = socket.create_connection((site.host, site.port))
    connection.sendall(head.encode() + body)
    return connection


def test_an_app_that_is_killed_in_the_middle_of_an_upload_stores_nothing(processes, database):
    app = processes("app.py")
    with half_an_upload(app.site()):
        app.stop(signal.SIGKILL)
    assert query("SELECT count(*) FROM batch") == query("SELECT count(*) FROM email") == [(0,)]


def test_an_app_that_is_killed_in_the_middle_of_the_copy_stores_nothing(
    processes, database, elsewhere
):
    app = processes("app.py")
    site = app.site()
    elsewhere.execute("BEGIN; LOCK TABLE chunk IN ACCESS EXCLUSIVE MODE")
    upload = csv_of(*(f"user{number}@example.com" for number in range(20_000)))
    with socket.create_connection((site.host, site.port)) as connection:
        form = (
            b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.csv"\r\n\r\n'
            + upload
            + b"\r\n--b--\r\n"
        )
        connection.sendall(
            b"POST /api/upload HTTP/1.1\r\nHost: localhost\r\n"
            b"Content-Type: multipart/form-data; boundary=b\r\n"
            + f"Content-Length: {len(form)}\r\n\r\n".encode()
            + form
        )
        waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
        eventually(lambda: query(waiting) == [(1,)])  # all emails copied, not committed
        app.stop(signal.SIGKILL)
    elsewhere.execute("ROLLBACK")
    eventually(lambda: query(waiting) == [(0,)])
    assert query("SELECT count(*) FROM batch") == query("SELECT count(*) FROM email") == [(0,)]
    assert query("SELECT count(*) FROM chunk") == [(0,)]


def test_an_app_that_is_killed_between_commit_and_ring_has_its_batch_processed(
    processes, database, client
):
    app = processes("app.py")
    site = app.site()
    client.client_pause(20_000, all=False)
    try:
        with socket.create_connection((site.host, site.port)) as connection:
            form = (
                b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.csv"\r\n\r\n'
                b"a@example.com\r\n--b--\r\n"
            )
            connection.sendall(
                b"POST /api/upload HTTP/1.1\r\nHost: localhost\r\n"
                b"Content-Type: multipart/form-data; boundary=b\r\n"
                + f"Content-Length: {len(form)}\r\n\r\n".encode()
                + form
            )
            eventually(lambda: query("SELECT status FROM batch") == [("pending",)])
            app.stop(signal.SIGKILL)
    finally:
        client.client_unpause()
    assert client.llen("email-queue") == 0
    processes("worker.py")
    eventually(lambda: query("SELECT status FROM batch") == [("completed",)])
    assert_books_balance()


def test_a_log_that_nobody_reads_any_more_stops_nothing(processes, servers, database, tmp_path):
    config = write_config(tmp_path, worker__sweep_seconds=0.2)
    reading, writing = os.pipe()
    worker = subprocess.Popen(
        [sys.executable, str(ROOT / "worker.py"), "--config", str(config)],
        stdout=writing,
        stderr=writing,
        env={**os.environ, **servers.environment},
    )
    os.close(writing)
    os.close(reading)
    try:
        batch_id = store("a@example.com").batch_id
        eventually(lambda: snapshot(batch_id).status == "completed")
    finally:
        worker.terminate()
        assert worker.wait(30) == 0


def test_an_upload_that_finds_the_disk_full_is_refused_and_stores_nothing(
    processes, database, client
):
    app = processes("app.py")
    site = app.site()
    # Files of this process cannot grow beyond a megabyte from now on; a full disk says the same
    # by another number.
    resource.prlimit(app.pid, resource.RLIMIT_FSIZE, (1_000_000, 1_000_000))
    response = site.upload(csv_of(*(f"user{number}@example.com" for number in range(100_000))))
    assert response.status == 507
    assert response.json["code"] == "insufficient_storage"
    assert query("SELECT count(*) FROM batch") == [(0,)]
    app.await_line("disk")
    assert site.upload(b"a@example.com\n").status == 201


PUT_OFF = """
import time
from processors import later, one_by_one

@one_by_one
def put_off(address):
    time.sleep(0.002)
    number = int(address[4:].partition("@")[0])
    if number % 3 == 0:
        return later("dns_timeout", 2, 0.5, 0.2)
    return "odd" if number % 7 == 0 else None
"""


def test_emails_that_wait_are_counted_once_whatever_is_killed(
    processes, database, client, tmp_path
):
    (tmp_path / "putting.py").write_text(PUT_OFF)
    changes = {
        "worker__processor": "putting:put_off",
        "worker__turn_seconds": 0.05,
        "worker__turn_timeout_seconds": 10,
    }
    batch_ids = [
        store(*(f"user{number}@x.de" for number in range(2000)), chunk_size=50).batch_id
        for _ in range(2)
    ]
    workers = [processes("worker.py", "--threads", "3", **changes) for _ in range(2)]
    # All have two seconds to wait, so that workers are killed while they do.
    eventually(lambda: any(snapshot(batch_id).waiting for batch_id in batch_ids), 60)
    for number in range(8):
        worker = workers[number % 2]
        worker.await_line("worker started")
        if number % 4 == 3:
            worker.send(signal.SIGSTOP)
            client.flushall()
            worker.send(signal.SIGCONT)
        else:
            worker.stop(signal.SIGKILL)
            workers[number % 2] = processes("worker.py", "--threads", "3", **changes)
        assert_books_balance()
    eventually(lambda: all(snapshot(number).status == "completed" for number in batch_ids), 60)
    for batch_id in batch_ids:
        assert snapshot(batch_id).reasons == {"dns_timeout": 667, "odd": 190}
        assert (snapshot(batch_id).waiting, snapshot(batch_id).next_at) == (0, None)
    assert_books_balance()
