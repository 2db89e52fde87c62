"""What several test modules use: polling, HTTP, configuration files, processes of ours."""

from __future__ import annotations

import atexit
import configparser
import contextlib
import functools
import http.client
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import xlsxwriter

import models
from batches import claims, intake
from batches.claims import Claim
from models import Snapshot
from postgres import database
from postgres.database import SESSION_SECONDS, pool, session
from processors import PROCESSED, Findings, Outcome
from runtime.settings import DEFAULT_PATH
from servers.keeper import BundledServer
from tabular.formats import Format, Overrides
from tabular.text import Block

ROOT = Path(__file__).resolve().parent.parent
FOLDERS = (
    *("admin", "batches", "postgres", "processors", "relay", "runtime", "servers", "tabular"),
    *("web", "work"),
)


def modules() -> list[Path]:
    """All modules of the product."""
    return [
        *ROOT.glob("*.py"),
        *(path for name in FOLDERS for path in ROOT.glob(f"{name}/**/*.py")),
    ]


@functools.cache
def _made() -> Path:
    """A folder with a PostgreSQL that was made and stopped, once for all tests of this process."""
    folder = Path(tempfile.mkdtemp(prefix="email-batch-"))
    atexit.register(shutil.rmtree, folder)
    BundledServer("postgres", folder).release()
    return folder / "postgres"


def made_folder() -> Path:
    """A new folder for bundled servers, with a PostgreSQL in it: to make one takes far longer."""
    folder = Path(tempfile.mkdtemp(prefix="email-batch-"))
    subprocess.run(["cp", "-a", _made(), folder], check=True)  # noqa: S607 (it keeps owners)
    return folder


def eventually(condition: Callable[[], Any], seconds: float = 20.0) -> Any:
    """The condition's first true value; AssertionError if there is none in time."""
    deadline = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < deadline, f"not within {seconds} s: {condition}"
        threading.Event().wait(0.02)


def free_port() -> int:
    """A port that nobody listens on, on this thread's host."""
    with socket.socket() as probe:
        probe.bind(("", 0))
        port: int = probe.getsockname()[1]
        return port


def changed(text: str, changes: dict[str, str]) -> str:
    """The text with each of these in place of what it has there."""
    for found, change in changes.items():
        assert found in text, found
        text = text.replace(found, change)
    return text


def copy_project(target: Path) -> None:
    """Copy what runs of this project."""
    unneeded = shutil.ignore_patterns(".*", "tests", "bench", "docs", "var", "users", "*.pyc")
    shutil.copytree(ROOT, target, ignore=unneeded)


def write_config(folder: Path, **changes: object) -> Path:
    """A config.ini in `folder` like ours, with changes such as worker__threads=2.

    Nothing is looked up in the DNS unless a change says so: no test depends on the world outside.
    """
    parser = configparser.ConfigParser(interpolation=None)
    parser.read(DEFAULT_PATH, encoding="utf-8")
    for place, value in {"check__dns": "off", **changes}.items():
        section, key = place.split("__")
        if not parser.has_section(section):
            parser.add_section(section)
        parser[section][key] = str(value)
    path = folder / "config.ini"
    with path.open("w", encoding="utf-8") as file:
        parser.write(file)
    return path


def write_slow_processor(folder: Path, milliseconds: int) -> str:
    """The name of a processor, in a module beside the configuration, that takes its time.

    An address without an @ fails.
    """
    (folder / "slow.py").write_text(
        "import time\n"
        "from processors import one_by_one\n"
        "@one_by_one\n"
        f"def slow(address):\n    time.sleep({milliseconds / 1000})\n"
        '    return None if "@" in address else "no_at_sign"\n'
    )
    return "slow:slow"


def csv_of(*addresses: str) -> bytes:
    return "".join(f"{address}\n" for address in addresses).encode()


# Statements by which PostgreSQL takes 1.5 seconds for each COPY of emails.
LASTING_COPY = (
    "CREATE FUNCTION wait() RETURNS trigger LANGUAGE plpgsql"
    " AS $$ BEGIN PERFORM pg_sleep(1.5); RETURN NULL; END $$",
    "CREATE TRIGGER wait AFTER INSERT ON email FOR EACH STATEMENT EXECUTE FUNCTION wait()",
)


def workbook(rows: list[list[Any]]) -> bytes:
    """An XLSX file with these rows."""
    buffer = BytesIO()
    with xlsxwriter.Workbook(buffer) as book:
        sheet = book.add_worksheet()
        for number, row in enumerate(rows):
            sheet.write_row(number, 0, row)
    return buffer.getvalue()


def rows_of(blocks: Iterable[Block], found: Format) -> list[tuple[int, list[str]]]:
    """The rows of blocks, one by one, each with its line."""
    delimiter = found.delimiter or ","
    return [row for b in blocks for row in zip(b.numbers, b.cells(delimiter), strict=True)]


def store(*addresses: str, chunk_size: int = 5000) -> Snapshot:
    """Store a batch of these addresses as an upload would."""
    batch = intake.store(
        BytesIO(csv_of(*addresses)),
        "list.csv",
        chunk_size=chunk_size,
        max_rows=10**6,
        overrides=Overrides(header=False),
    )
    return models.snapshot_of(batch)


def claim_next(batch_id: int) -> Claim | None:
    """Begin a turn and claim its chunk, in a transaction that is left open."""
    return claims.claim_chunk(batch_id, (), 60)


def lose_turn(batch_id: int) -> Claim | None:
    """Begin a turn that is never committed; what it claimed."""
    with database.own_transactions():
        return claim_next(batch_id)


def start(batch_id: int) -> Snapshot | None:
    """Make a pending batch `processing`, and return its snapshot then."""
    with session():
        claim = lose_turn(batch_id)
        # As if that turn had never been.
        pool.execute_sql("UPDATE chunk SET attempts = 0 WHERE batch_id = %s", (batch_id,))
    return claim and claim.started


def listed(findings: Findings) -> list[Outcome]:
    """The outcome of each address in order."""
    others = dict(findings.others)
    assert [*others] == sorted(others)
    assert len(others) == len(findings.others)
    return [others.get(position, PROCESSED) for position in range(findings.count)]


def in_threads(*functions: Callable[[], Any], seconds: float = SESSION_SECONDS) -> list[Any]:
    """Run the functions at the same moment, each with a session of so many seconds, and return what
    they did."""
    barrier = threading.Barrier(len(functions))
    results: list[Any] = [None] * len(functions)

    def run(index: int, function: Callable[[], Any]) -> None:
        with session(seconds):
            barrier.wait(10)
            results[index] = function()

    threads = [threading.Thread(target=run, args=pair) for pair in enumerate(functions)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


def query(sql: str, *parameters: object) -> list[tuple[Any, ...]]:
    with session(60):
        return list(pool.execute_sql(sql, parameters).fetchall())


def emails(batch_id: int) -> list[tuple[str, str, str | None]]:
    """The batch's emails in order: address, status, reason."""
    return query(
        "SELECT email, status, reason FROM email WHERE batch_id = %s ORDER BY id", batch_id
    )


def snapshot(batch_id: int) -> Snapshot:
    with session(60):
        return models.snapshots([batch_id])[0]


def assert_books_balance() -> None:
    """The invariants that hold at every quiet moment, over all batches."""
    wrong = query(
        "SELECT b.id FROM batch b CROSS JOIN LATERAL ("
        "  SELECT count(*) AS all_emails, count(*) FILTER (WHERE status <> 'pending') AS done,"
        "   count(*) FILTER (WHERE status = 'failed') AS failed FROM email WHERE batch_id = b.id"
        " ) e WHERE b.total_emails <> e.all_emails OR b.processed_count <> e.done"
        "  OR b.failed_count <> e.failed OR (b.status = 'completed') <> (e.done = e.all_emails)"
        "  OR (b.status = 'completed' AND b.completed_at IS NULL)"
    )
    assert wrong == []
    by_reason = query(
        "SELECT batch_id, reason, count(*) FROM email WHERE reason IS NOT NULL GROUP BY 1, 2"
    )
    for table in ("batch", "chunk"):
        key = "id" if table == "batch" else "batch_id"
        summed = query(
            f"SELECT {key}, reason, sum(number::int) FROM {table},"
            " jsonb_each_text(reasons) AS each (reason, number) GROUP BY 1, 2"
        )
        assert sorted(summed) == sorted(by_reason)


@dataclass
class Response:
    status: int
    headers: http.client.HTTPMessage
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Site:
    """A served application at host and port."""

    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/")
        self.host, port = re.fullmatch(r"http://([\d.]+):(\d+)/?", url).groups()  # type: ignore[union-attr]
        self.port = int(port)

    def connection(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection(self.host, self.port, timeout=20)

    def request(
        self, method: str, path: str, body: bytes | None = None, **headers: str
    ) -> Response:
        """Header names are given with underscores."""
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
        boundary = "a-boundary-of-the-tests"
        start = f"--{boundary}\r\nContent-Disposition: form-data; name="
        body = "".join(f'{start}"{name}"\r\n\r\n{text}\r\n' for name, text in texts.items())
        head = f'{start}"{field}"; filename="{filename}"\r\nContent-Type: text/csv\r\n\r\n'
        whole = (body + head).encode() + content + f"\r\n--{boundary}--\r\n".encode()
        content_type = f"multipart/form-data; boundary={boundary}"
        return self.request("POST", path, whole, Content_Type=content_type)

    @contextlib.contextmanager
    def stream(self, batch_id: int | None = None, **headers: str) -> Iterator[Stream]:
        """The stream of a batch, or of all."""
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
    """An open event stream, read as it comes."""

    def __init__(self, response: http.client.HTTPResponse) -> None:
        self.response = response
        self.status = response.status

    def lines(self) -> Iterator[str]:
        while line := self.response.readline():
            yield line.decode().rstrip("\n")

    def events(self) -> Iterator[dict[str, Any]]:
        """The snapshots, until the stream ends; each event's id is its revision."""
        event_id = None
        for line in self.lines():
            if line.startswith("id: "):
                event_id = int(line[4:])
            elif line.startswith("data: "):
                data = json.loads(line[6:])
                assert data["revision"] == event_id
                yield data

    def all_events(self) -> Iterator[tuple[str, Any]]:
        """Type and data of each event of the stream of all batches, which have no id."""
        kind = "message"
        for line in self.lines():
            assert not line.startswith("id:")
            if line.startswith("event: "):
                kind = line[7:]
            elif line.startswith("data: "):
                yield kind, json.loads(line[6:])
                kind = "message"

    def snapshots(self) -> Iterator[dict[str, Any]]:
        """Those of them that are snapshots."""
        return (data for kind, data in self.all_events() if kind == "message")


class Process:
    """app.py or worker.py as a process of its own, with its output."""

    def __init__(self, script: str, *arguments: str, **environment: str) -> None:
        self.lines: list[str] = []
        self._process = subprocess.Popen(
            [sys.executable, str(ROOT / script), *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env={**os.environ, "PYTHONUNBUFFERED": "1", **environment},
            text=True,
        )
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self.lines.append(line.rstrip("\n"))

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    def resident_megabytes(self) -> float:
        """Memory that it has now."""
        status = Path(f"/proc/{self.pid}/status").read_text()
        match = re.search(r"VmRSS:\s+([0-9]+) kB", status)
        assert match, status
        return int(match[1]) / 1000

    @property
    def output(self) -> str:
        return "\n".join(self.lines)

    def await_line(self, pattern: str, seconds: float = 60.0) -> re.Match[str]:
        """The match of the first line in which the pattern is found."""

        def found() -> re.Match[str] | None:
            matches = (re.search(pattern, line) for line in list(self.lines))
            match = next(filter(None, matches), None)
            assert match or self._process.poll() is None, self.output
            return match

        return eventually(found, seconds)  # type: ignore[no-any-return]

    def site(self) -> Site:
        """Where an app.py serves, once it does."""
        return Site(self.await_line(r"serving url=(\S+)")[1])

    def send(self, signum: signal.Signals) -> None:
        self._process.send_signal(signum)

    def wait(self, seconds: float = 30.0) -> int:
        """The exit status."""
        status = self._process.wait(seconds)
        self._reader.join(seconds)
        assert self._process.stdout is not None
        self._process.stdout.close()
        return status

    def stop(self, signum: signal.Signals = signal.SIGTERM) -> int:
        if self._process.poll() is None:
            self.send(signum)
            self.send(signal.SIGCONT)  # a test may have stopped it before it failed
        try:
            return self.wait()
        except subprocess.TimeoutExpired:
            self._process.kill()  # it must not get into the way of the next test
            self.wait()
            raise
