"""Figures of small requests: how many a second, and how long they take when many come at once.

Beside them stands Bottle with waitress alone, which answers with JSON of the size of a batch's,
without any of the product's work. It is measured in the same rounds.
"""

from __future__ import annotations

import contextlib
import selectors
import socket
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

import calls
import samples
from calls import Address
from ground import Ground, Program
from report import Row, percentile, say
from samples import Sample

FIGURES = ("requests",)
CONNECTIONS, SECONDS = 8, 2.0
# Connections at which the longest waits are measured, at half of what CONNECTIONS get.
MANY = 64
BATCHES, UPLOADED = 8, 10
UPLOADS = 300
# What is requested, and how many requests a second to reach.
TARGETS = {
    "/api/batches": 1200,
    "/api/batches/{id}": 1200,
    "/api/health": 1200,
    "/": 600,
    "/batches/{id}": 400,
}
UPLOADS_TARGET = 250
P99_TARGET = 60.0
_BARE = """
import logging, socket
import bottle, waitress
logging.getLogger("waitress.queue").setLevel(logging.ERROR)
app = bottle.Bottle()
app.route("/", "GET", lambda: {"answer": "x" * 2000})
listening = socket.create_server(("127.0.0.1", 0))
print(listening.getsockname()[1], flush=True)
waitress.serve(app, sockets=[listening], threads=8)
"""


@contextlib.contextmanager
def _bare() -> Iterator[Address]:
    """Run Bottle with waitress alone, and yield its address."""
    with subprocess.Popen([sys.executable, "-c", _BARE], stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout
            yield "127.0.0.1", int(process.stdout.readline())
        finally:
            process.kill()


class _Client:
    """A connection that sends the same request again and again."""

    def __init__(self, address: Address, path: str) -> None:
        self.socket = socket.create_connection(address)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._request = f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()
        self._received = b""
        self.due = 0.0

    def send(self, due: float) -> None:
        """Send the request, which is `due` at this monotonic time or was before."""
        self.due = due
        self.socket.sendall(self._request)

    def receive(self) -> float | None:
        """Return the seconds since the request was due, if its answer is whole; else None.

        Raises RuntimeError for any status but 200, and if the server closes the connection.
        """
        data = self.socket.recv(1 << 18)
        if not data:
            raise RuntimeError("the server closed a connection without an answer")
        self._received += data
        head, _, body = self._received.partition(b"\r\n\r\n")
        _, _, length = head.lower().partition(b"\r\ncontent-length: ")
        if not length or len(body) < int(length.partition(b"\r\n")[0]):
            return None
        if not head.startswith(b"HTTP/1.1 200 "):
            raise RuntimeError(head.decode("latin-1"))
        self._received = b""
        return time.monotonic() - self.due


def _load(address: Address, path: str, connections: int, rate: float | None = None) -> list[float]:
    """Return the seconds that each request took, of those that were due within SECONDS.

    rate: how many requests a second are due; None for the next as soon as one is answered.
    """
    took: list[float] = []
    with contextlib.ExitStack() as stack, selectors.DefaultSelector() as selector:
        clients = [_Client(address, path) for _ in range(connections)]
        for client in clients:
            stack.enter_context(client.socket)
            selector.register(client.socket, selectors.EVENT_READ, client)
        idle, sent, began = [*clients], 0, time.monotonic()
        while (now := time.monotonic()) < began + SECONDS:
            while idle and (rate is None or sent < rate * (now - began)):
                idle.pop().send(now if rate is None else began + sent / rate)
                sent += 1
            for key, _ in selector.select(0.001):
                seconds = key.data.receive()
                if seconds is not None:
                    took.append(seconds)
                    idle.append(key.data)
        if rate is not None:  # those without an answer would be the slowest
            took += [now - client.due for client in clients if client not in idle]
    return took


def measure(ground: Ground, rounds: int) -> tuple[list[Row], Any]:
    """Measure requests of each kind in turn with idle workers, and uploads with none and with one.

    A worker takes two thirds as much CPU time for such a list as the app, so an upload alone tells
    what the request takes, and an upload beside the worker what a machine with both does.
    """
    ground.reset()
    rates: defaultdict[str, list[float]] = defaultdict(list)
    waits: defaultdict[str, list[float]] = defaultdict(list)
    with ground.app() as app, _bare() as bare:
        ids = [calls.upload(app.address, samples.make(1000)).batch_id for _ in range(BATCHES)]
        for number in range(1, rounds + 1):
            say(f"requests, round {number} of {rounds}")
            _measure_uploads(ground, app, rates)
            with ground.workers(1, 4):
                for batch_id in ids:
                    ground.await_completed(batch_id, 1000)
                for path in TARGETS:
                    rates["floor"].append(len(_load(bare, "/", CONNECTIONS)) / SECONDS)
                    asked = path.format(id=ids[0])
                    rates[path].append(len(_load(app.address, asked, CONNECTIONS)) / SECONDS)
                    took = _load(app.address, asked, MANY, rates[path][-1] / 2)
                    waits[path].append(1000 * percentile(took, 99))
    return [*_table(rates, waits)], {"rates": dict(rates), "p99": dict(waits)}


def _measure_uploads(ground: Ground, app: Program, rates: dict[str, list[float]]) -> None:
    """Measure how many lists of UPLOADED rows one client uploads a second, and remove them."""
    sample = samples.make(UPLOADED)
    ids, alone = _upload(app, sample)
    with ground.workers(1, 4):
        for batch_id in ids:
            ground.await_completed(batch_id, UPLOADED)
        more, beside = _upload(app, sample)
        for batch_id in (ids := ids + more):
            ground.await_completed(batch_id, UPLOADED)
            ground.assert_counts(batch_id, UPLOADED, sample.malformed)
    for table, column in (("batch", "id"), ("chunk", "batch_id"), ("email", "batch_id")):
        # So that all rounds list the same.
        ground.rows(f"DELETE FROM {table} WHERE {column} = ANY(%s)", ids)
    rates["upload"].append(alone)
    rates["upload beside a worker"].append(beside)


def _upload(app: Program, sample: Sample) -> tuple[list[int], float]:
    """Upload the list UPLOADS times. Returns the ids of the batches, and uploads a second."""
    began = time.monotonic()
    ids = [calls.upload(app.address, sample).batch_id for _ in range(UPLOADS)]
    return ids, UPLOADS / (time.monotonic() - began)


def _table(rates: dict[str, list[float]], waits: dict[str, list[float]]) -> Iterator[Row]:
    yield Row("requests", "requests to Bottle with waitress alone", "requests/s", rates["floor"])
    for path, target in TARGETS.items():
        yield Row("requests", path, "requests/s", rates[path], relation=">=", target=target)
        label = f"… p99 of {MANY} connections at half of that"
        yield Row("requests", label, "ms", waits[path], target=P99_TARGET)
    label = f"uploads of {UPLOADED} rows by one client"
    yield Row("requests", label, "uploads/s", rates["upload"], relation=">=", target=UPLOADS_TARGET)
    yield Row("requests", "… and a worker", "uploads/s", rates["upload beside a worker"])
