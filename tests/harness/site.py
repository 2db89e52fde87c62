"""Send requests to a running app, and read its event streams."""

from __future__ import annotations

import base64
import contextlib
import http.client
import json
import re
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from harness.files import FORM_TYPE, form


@dataclass
class Response:
    status: int
    headers: http.client.HTTPMessage
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Site:
    """A running app, by its URL."""

    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/")
        self.host, port = re.fullmatch(r"http://([\d.]+):(\d+)/?", url).groups()  # type: ignore[union-attr]
        self.port = int(port)

    def connection(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection(self.host, self.port, timeout=60)

    def request(
        self, method: str, path: str, body: bytes | None = None, **headers: str
    ) -> Response:
        """Send a request; the names of headers have underscores in place of hyphens."""
        connection = self.connection()
        try:
            names = {name.replace("_", "-"): value for name, value in headers.items()}
            connection.request(method, path, body, names)
            response = connection.getresponse()
            return Response(response.status, response.headers, response.read())
        finally:
            connection.close()

    def get(self, path: str, **headers: str) -> Response:
        return self.request("GET", path, **headers)

    def upload(
        self,
        content: bytes,
        filename: str = "list.csv",
        field: str = "file",
        path: str = "/api/upload",
        **texts: str,
    ) -> Response:
        """Send a form with a file in `field`, and with `texts` as its other fields."""
        body = form(content, filename, field, **texts)
        return self.request("POST", path, body, Content_Type=FORM_TYPE)

    @contextlib.contextmanager
    def stream(self, batch_id: int | None = None, **headers: str) -> Iterator[Stream]:
        """Open the stream of a batch, or of all batches."""
        path = "/api/batches/stream" if batch_id is None else f"/api/batches/{batch_id}/stream"
        connection = self.connection()
        try:
            names = {name.replace("_", "-"): value for name, value in headers.items()}
            connection.request("GET", path, headers=names)
            # The response may have taken the socket over from the connection.
            with connection.getresponse() as response:
                yield Stream(response)
        finally:
            connection.close()


class Stream:
    """An open event stream. Each method reads on until it ends."""

    def __init__(self, response: http.client.HTTPResponse) -> None:
        self.response = response
        self.status = response.status

    def lines(self) -> Iterator[str]:
        while line := self.response.readline():
            yield line.decode().rstrip("\n")

    def events(self) -> Iterator[dict[str, Any]]:
        """Yield the snapshots of one batch; each event's id must be its revision."""
        event_id = None
        for line in self.lines():
            if line.startswith("id: "):
                event_id = int(line[4:])
            elif line.startswith("data: "):
                data = json.loads(line[6:])
                assert data["revision"] == event_id
                yield data

    def all_events(self) -> Iterator[tuple[str, Any]]:
        """Yield type and data of each event of the stream of all batches; none must have an id."""
        kind = "message"
        for line in self.lines():
            assert not line.startswith("id:")
            if line.startswith("event: "):
                kind = line[7:]
            elif line.startswith("data: "):
                yield kind, json.loads(line[6:])
                kind = "message"

    def snapshots(self) -> Iterator[dict[str, Any]]:
        """Yield the snapshots in the stream of all batches."""
        return (data for kind, data in self.all_events() if kind == "message")


def post(site: Site, path: str, **fields: object) -> Response:
    """Send a POST request with the fields, if there are any, as JSON."""
    body = json.dumps(fields).encode() if fields else b""
    return site.request("POST", path, body, Content_Type="application/json")


def problem(response: Response, status: int, code: str) -> Any:
    """Assert that the response is a problem with this status and code, and return its JSON."""
    assert response.status == status
    assert response.headers["Content-Type"] == "application/problem+json"
    document = response.json
    assert (document["status"], document["code"]) == (status, code)
    assert document["detail"].endswith(".")
    assert document["title"]
    return document


# People who may sign in.

PASSWORD = "correct horse 7"


def basic(name: str, password: str) -> str:
    """Return the Authorization header for a name and a password."""
    return "Basic " + base64.b64encode(f"{name}:{password}".encode()).decode()


ALICE = basic("alice", PASSWORD)


def sign_in(site: Site, authorization: str) -> Site:
    """Return the site with this user signed in."""

    class SignedIn(Site):
        def request(
            self, method: str, path: str, body: bytes | None = None, **headers: str
        ) -> Response:
            return super().request(method, path, body, Authorization=authorization, **headers)

    return SignedIn(site.url)


# Requests sent as bytes.

HOST = b"Host: localhost\r\n"


def connect(site: Site, sent: bytes = b"") -> socket.socket:
    """Open a connection, and send these bytes."""
    connection = socket.create_connection((site.host, site.port), timeout=20)
    connection.sendall(sent)
    return connection


def answer(connection: socket.socket) -> str:
    """Return all that the server sends until it closes the connection."""
    received = b""
    with connection:
        while data := connection.recv(1 << 16):
            received += data
    return received.decode()


def body(size: int, path: bytes = b"/api/upload") -> bytes:
    """Return the head of a POST request whose body has `size` bytes."""
    return b"POST %b HTTP/1.1\r\n%bContent-Length: %d\r\n\r\n" % (path, HOST, size)
