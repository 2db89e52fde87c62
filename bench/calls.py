"""Requests to the app over HTTP: uploads, event streams, plain requests."""

from __future__ import annotations

import contextlib
import http.client
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from samples import BOUNDARY, Sample

Address = tuple[str, int]
# Seconds without a response after which a measurement fails; an upload may take a while.
TIMEOUT = 900.0


@dataclass(frozen=True)
class Upload:
    """A stored batch: `seconds` from connecting until the answer was read.

    It began at `began` of the monotonic clock, and at `began_wall` of the wall clock (UNIX time),
    which can be compared with the times in the database.
    """

    batch_id: int
    began: float
    began_wall: float
    seconds: float


def connection(address: Address) -> http.client.HTTPConnection:
    return http.client.HTTPConnection(*address, timeout=TIMEOUT)


def upload(address: Address, sample: Sample, **fields: str) -> Upload:
    """Upload the list. Raises RuntimeError unless all of it is stored.

    fields: further fields of the form, such as columns="name"; an empty one isn't sent.
    """
    start = f"--{BOUNDARY}\r\nContent-Disposition: form-data; name="
    sent = (f'{start}"{name}"\r\n\r\n{text}\r\n' for name, text in fields.items() if text)
    body = "".join(sent).encode() + sample.body
    began, began_wall = time.monotonic(), time.time()
    with contextlib.closing(connection(address)) as http_connection:
        headers = {"Content-Type": sample.content_type}
        http_connection.request("POST", "/api/upload", body, headers)
        response = http_connection.getresponse()
        body = response.read()
        seconds = time.monotonic() - began
    if response.status != 201:
        raise RuntimeError(f"an upload was answered with {response.status}: {body[:500]!r}")
    answer = json.loads(body)
    if answer["totalEmails"] != sample.rows:
        raise RuntimeError(f"of {sample.rows} rows {answer['totalEmails']} were stored")
    return Upload(int(answer["batchId"]), began, began_wall, seconds)


def get(address: Address, path: str) -> bytes:
    """Return the body of a GET over a new connection. Raises RuntimeError unless it is a 200."""
    with contextlib.closing(connection(address)) as http_connection:
        return ask(http_connection, path)


def ask(http_connection: http.client.HTTPConnection, path: str) -> bytes:
    """Return the body of a GET over an open connection, which stays open."""
    http_connection.request("GET", path)
    response = http_connection.getresponse()
    body = response.read()
    if response.status != 200:
        raise RuntimeError(f"GET {path} was answered with {response.status}: {body[:500]!r}")
    return body


@contextlib.contextmanager
def stream(address: Address, batch_id: int | None = None) -> Iterator[Iterator[dict[str, Any]]]:
    """Yield the snapshots on the stream of a batch, or of all batches, as they arrive."""
    path = "/api/batches/stream" if batch_id is None else f"/api/batches/{batch_id}/stream"
    with contextlib.closing(connection(address)) as http_connection:
        http_connection.request("GET", path)
        with http_connection.getresponse() as response:
            if response.status != 200:
                raise RuntimeError(f"GET {path} was answered with {response.status}")
            yield _snapshots(response)


def _snapshots(response: http.client.HTTPResponse) -> Iterator[dict[str, Any]]:
    for line in iter(response.readline, b""):
        # The stream of all batches has health events too.
        if line.startswith(b'data: {"batchId"'):
            yield json.loads(line[6:])


def await_completed(snapshots: Iterator[dict[str, Any]], batch_id: int) -> bool:
    """Read until the batch is completed; return whether the first snapshot said so already."""
    for number, snapshot in enumerate(snapshots):
        if snapshot["batchId"] == batch_id and snapshot["status"] == "completed":
            return number == 0
    raise RuntimeError(f"the stream ended before batch {batch_id} was completed")
