"""The files of a torture run, what is expected of each, and the threads that upload them."""

from __future__ import annotations

import http.client
import json
import random
import socket
import struct
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from harness.files import FORM_TYPE, form
from torture.audit import Faults
from torture.expected import ACKNOWLEDGED, BROKEN_OFF, UNKNOWN, Row
from torture.pace import PER_MINUTE, RATED_SIZES
from torture.processor import STOPS, UNUSUAL

# Addresses with a row's number in them, and the reason why they fail.
GOOD = (
    "user{}@example.com",
    "o'neil+{}@Example.ORG",
    "first.last-{}@mail.example.co.uk",
    "jürgen{}@example.de",
    "{}@müller.example.net",
)
MALFORMED = {
    "user{}.example.com": "no_at_sign",
    "@host{}.example.com": "no_local_part",
    "user{}@": "no_domain",
    "us er{}@example.com": "bad_local_part",
    "user..{}@example.com": "bad_syntax",
    "user{}@exa_mple.com": "bad_domain",
    "user{}@example..com": "bad_syntax",
    "user{}@example": "no_top_level_domain",
    "user{}@server.local": "reserved_domain",
    '"user{}"@example.com': "quoted_local_part",
    "user{}@[127.0.0.1]": "ip_address",
    "user{}@example@com": "bad_domain",
    "user{}@" + "b" * 64 + ".com": "too_long",
}
_MALFORMED = tuple(MALFORMED.items())
# How often a file has unusual addresses, and one of its addresses is unusual, by the kind of work.
# Each turn with an email that is put off cuts its chunk; if turns of it were lost, repeatable work
# then takes a child process for each part. A Stop pauses a whole batch, so it is rare.
UNUSUAL_SHARES = {"repeatable": (0.4, 0.02), "once": (1.0, 0.1)}
_KINDS = {word: 1 if word == STOPS else 100 for word in UNUSUAL}

# A file's layout: the header row or none, and a row with the address in its column.
LAYOUTS = (
    (None, "{address}"),
    ("email", "{address}"),
    ("id,E-Mail Address,name", "{number},{address},{name}"),
    (None, "{name},{address}"),
)
# A name may run over two lines; rows are known by the line that they begin on.
NAMES = ("Anna", '"O\'Neil, Anna"', '"Anna\nvan Dijk"', "Zoë")

# Sizes in rows, and how often each range is drawn.
SIZES = {(1, 1): 8, (2, 60): 15, (100, 3000): 55, (3000, 9000): 18, (12_000, 20_000): 4}
# How often an upload is broken off, and how often nobody waits for the answer.
BREAK_OFF, WALK_AWAY = 0.06, 0.04

# Seconds: an answer that takes longer is a fault; between attempts when there is no app or it
# has no database.
PATIENCE = 30.0
PAUSE = 0.2


@dataclass
class Upload:
    """One file. Its rows are made from `seed` whenever they're needed, so that none is kept.

    `unusual` is the share of addresses of the kinds in UNUSUAL, which only the processors of a
    torture run know. `per_minute` is the rate of its batch, or empty.
    """

    filename: str
    seed: int
    size: int
    standing: str = UNKNOWN
    unusual: float = 0
    per_minute: str = ""
    asked: set[str] = field(default_factory=set)

    def rows(self) -> Iterator[Row]:
        """All rows but the header. The first address is a good one."""
        rng = random.Random(self.seed)
        header, layout = rng.choice(LAYOUTS)
        line, before = 1, rng.random() < 0.2
        if before:
            yield Row("blank", line, "\n")
            line += 1
        line += header is not None
        row = _email(line, 0, GOOD[0], None, layout, rng)
        yield row
        for number in range(1, self.size):
            line += row.text.count("\n")
            row = self._row(line, number, layout, rng, row)
            yield row

    def _row(self, line: int, number: int, layout: str, rng: random.Random, last: Row) -> Row:
        if self.unusual and rng.random() < self.unusual:
            return _unusual(line, number, layout, rng)
        chance = rng.random()
        if chance < 0.90:
            return _email(line, number, GOOD[number % len(GOOD)], None, layout, rng)
        if chance < 0.95:
            template, reason = rng.choice(_MALFORMED)
            return _email(line, number, template, reason, layout, rng)
        if chance < 0.97 and last.kind == "email":
            text = _fill(layout, last.address.swapcase(), number, rng)
            return Row("duplicate", line, text)
        if chance < 0.985 and "name" in layout:
            return Row("without address", line, _fill(layout, " ", number, rng))
        return Row("blank", line, "\n" if layout == LAYOUTS[0][1] else " ,\n")

    def content(self) -> tuple[bytes, Counter[str]]:
        """The file, and how many rows of each kind it has."""
        header, _ = random.Random(self.seed).choice(LAYOUTS)
        rows = list(self.rows())
        texts = [row.text for row in rows]
        if header is not None:
            texts.insert(rows[0].kind == "blank", f"{header}\n")
        start = "\ufeff" if self.seed % 5 == 0 else ""
        return (start + "".join(texts)).encode(), Counter(row.kind for row in rows)


def _email(
    line: int, number: int, template: str, reason: str | None, layout: str, rng: random.Random
) -> Row:
    address = template.format(number)
    status = "processed" if reason is None else "failed"
    return Row("email", line, _fill(layout, address, number, rng), address, status, reason)


def _unusual(line: int, number: int, layout: str, rng: random.Random) -> Row:
    (word,) = rng.choices(list(_KINDS), list(_KINDS.values()))
    rounds, outcome = UNUSUAL[word]
    address = f"{word}.{number}@example.com"
    text = _fill(layout, address, number, rng)
    expected = outcome.status, outcome.reason, rounds, word == STOPS
    return Row("email", line, text, address, *expected)


def _fill(layout: str, address: str, number: int, rng: random.Random) -> str:
    """A row of this layout, with its line break."""
    if '"' in address:
        address = '"' + address.replace('"', '""') + '"'
    elif number % 50 == 0:
        address = f"  {address} "
    if layout == LAYOUTS[0][1]:
        return f"{address}\n"
    return layout.format(address=address, number=number, name=rng.choice(NAMES)) + "\n"


class Ledger:
    """All uploads of which a batch may come, and how they were answered. For any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.uploads: list[Upload] = []
        # Those that were acknowledged, with the ids of their batches.
        self.stored: list[tuple[int, Upload]] = []
        self.answers: Counter[str] = Counter()
        self.rows_sent = 0
        # Set while a whole file has been sent that isn't answered yet; one uploader may clear it
        # for the other, as it's only there to aim by.
        self.storing = threading.Event()

    def add(self, upload: Upload) -> None:
        """Before its first byte is sent."""
        with self._lock:
            self.uploads.append(upload)
            self.rows_sent += upload.size

    def answered(self, answer: str) -> None:
        with self._lock:
            self.answers[answer] += 1


class Uploader:
    """Uploads one file after the other: run() is a thread's work."""

    def __init__(
        self,
        name: str,
        address: tuple[str, int],
        ledger: Ledger,
        faults: Faults,
        rng: random.Random,
        largest: int,
        shares: tuple[float, float],
        *,
        rated: bool = False,
    ) -> None:
        """`largest` is the most rows of a file; `shares` are of UNUSUAL_SHARES.

        If `rated`, batches of some sizes have a rate.
        """
        self._name = name
        self._address = address
        self._ledger = ledger
        self._faults = faults
        self._rng = rng
        self._largest = largest
        self._shares = shares
        self._rated = rated
        self._number = 0

    def run(self, stopping: threading.Event, may_go_on: Callable[[], bool]) -> None:
        """Upload until `stopping`, whenever `may_go_on` says so."""
        while not stopping.is_set():
            if may_go_on():
                self._upload(self._next(), stopping)
            else:
                stopping.wait(PAUSE)

    def _next(self) -> Upload:
        self._number += 1
        ((least, most),) = self._rng.choices(list(SIZES), list(SIZES.values()))
        size = min(self._rng.randint(least, most), self._largest)
        name, seed = f"{self._name}-{self._number}.csv", self._rng.getrandbits(48)
        files, addresses = self._shares
        rate = str(PER_MINUTE) if self._rated and size in RATED_SIZES else ""
        unusual = addresses * (self._rng.random() < files)
        return Upload(name, seed, size, unusual=unusual, per_minute=rate)

    def _upload(self, upload: Upload, stopping: threading.Event) -> None:
        content, counts = upload.content()
        body = form(content, upload.filename, per_minute=upload.per_minute)
        connection = http.client.HTTPConnection(*self._address, timeout=PATIENCE)
        while True:
            try:
                connection.connect()
                break
            except OSError:  # the app was killed: nothing of this upload has reached anybody
                if stopping.wait(PAUSE):
                    return
        try:
            self._send(connection, upload, body, counts, stopping)
        finally:
            connection.close()

    def _send(
        self,
        connection: http.client.HTTPConnection,
        upload: Upload,
        body: bytes,
        counts: Counter[str],
        stopping: threading.Event,
    ) -> None:
        chance = self._rng.random()
        if chance < BREAK_OFF:
            upload.standing = BROKEN_OFF
        self._ledger.add(upload)
        began = time.monotonic()
        try:
            connection.putrequest("POST", "/api/upload")
            connection.putheader("Content-Type", FORM_TYPE)
            connection.putheader("Content-Length", str(len(body)))
            connection.endheaders()
            if chance < BREAK_OFF:
                return self._break_off(connection, body)
            connection.send(body)
            if chance < BREAK_OFF + WALK_AWAY:
                return self._ledger.answered("not waited for")
            self._ledger.storing.set()
            response = connection.getresponse()
            answer = response.read()
        except TimeoutError:
            self._ledger.answered("no answer in time")
            self._faults.add(f"{upload.filename}: no answer within {PATIENCE} s")
        except (OSError, http.client.HTTPException):
            self._ledger.answered("connection broke")
        else:
            seconds = time.monotonic() - began
            if seconds > PATIENCE:
                self._faults.add(f"{upload.filename}: answered after {seconds:.0f} s")
            self._judge(upload, counts, response, answer)
            if response.status == 503:
                stopping.wait(PAUSE)
        finally:
            self._ledger.storing.clear()

    def _break_off(self, connection: http.client.HTTPConnection, body: bytes) -> None:
        """Send a part, and go in good order or by a reset."""
        connection.send(body[: self._rng.randrange(len(body))])
        if self._rng.random() < 0.5:
            linger = struct.pack("ii", 1, 0)
            connection.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self._ledger.answered("broken off")

    def _judge(
        self,
        upload: Upload,
        counts: Counter[str],
        response: http.client.HTTPResponse,
        body: bytes,
    ) -> None:
        self._ledger.answered(str(response.status))
        if response.status == 201:
            upload.standing = ACKNOWLEDGED
            answer = json.loads(body)
            self._ledger.stored.append((answer["batchId"], upload))
            rows = answer["rows"]
            found = [rows[key] for key in ("emails", "duplicates", "withoutAddress", "blank")]
            due = [counts[kind] for kind in ("email", "duplicate", "without address", "blank")]
            if found != due:
                self._faults.add(f"{upload.filename}: the answer says {rows}, not {due}")
        elif not (
            response.status == 503
            and response.getheader("Retry-After")
            and response.headers.get_content_type() == "application/problem+json"
        ):
            text = body[:300].decode(errors="replace")
            self._faults.add(f"{upload.filename}: answered {response.status} {text}")
