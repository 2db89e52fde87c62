"""Files of nonsense for intake and preview: `make fuzz`.

Each is previewed and uploaded by a running app, and the batch of a large one is looked at. Whatever
it is, the answer is a success or a problem that says what is wrong, and the app takes no more than
five seconds of CPU time for it, and no more memory than for a large list. What Hypothesis finds it
makes small, and prints.
"""

from __future__ import annotations

import argparse
import http.client
import json
import re
import socket
import sys
import time
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[number]) for number in (2, 1)]

import hypothesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harness.config import write_config
from harness.files import FORM_TYPE, form
from harness.processes import Process
from harness.servers import bundled_servers, temporary_folder
from harness.site import Site
from tabular.formats import DELIMITERS, ENCODINGS
from torture import damaged

INPUTS = 100_000
# Seconds after which a file is sent again, to see how long the app works.
SECONDS = 1.0
# The most seconds that an answer may take then, and the most of the app's CPU time, on a slow
# machine with much else to do. The largest inputs, such as 100,000 addresses in a row, take 0.5 s
# on a usual machine, and 1.7 s on one three times as slow, with nothing else to do.
BUSY_SECONDS, BUSY_CPU_SECONDS = 15.0, 5.0
# Megabytes that the app may have had at most in the end.
MEGABYTES = 150
# One input of so many is a workbook, for each of which a process is started; one is of each of the
# kinds that are large.
RARE = 50
# Bytes of a file from which on its batch is looked at, too.
LARGE = 5_000

STRANGE = [
    *(
        "",
        " ",
        '"',
        '""',
        "'",
        "\0",
        "\r",
        "\n",
        "\r\n",
        "\x0b",
        "\x1a",
        "\x85",
        "\u2028",
        "\ufeff",
    ),
    *("\u202eevil@x.de", "=cmd()@x.de", "+1@x.de", "@", "a@", "@b", "a@b", "a@b.c", "e-mail"),
    *(
        "a" * 400 + "@x.de",
        "<script>@x.de",
        "a@x.de,b@x.de",
        "A@X.DE",
        "ß@ß.de",
        "\ud7ff",
        "𝒶@x.de",
    ),
    *("status", "verdict", "reason", "explanation", "suggestion", "normalized"),
    *("free_provider", "Email", "email"),
]
cells = st.one_of(
    st.sampled_from(STRANGE),
    st.text(max_size=12),
    st.builds("{}@{}.com".format, st.text("abc.+", min_size=1, max_size=5), st.sampled_from("ab")),
    st.builds('"{}"'.format, st.text(max_size=6)),
)


@st.composite
def tables(draw: st.DrawFn) -> bytes:
    """What is nearly a CSV file."""
    rows = draw(st.lists(st.lists(cells, max_size=4), max_size=8))
    delimiter = draw(st.sampled_from([*DELIMITERS.values(), *DELIMITERS.values(), ":", "\0", ""]))
    newline = draw(st.sampled_from(["\n", "\r\n", "\r", "\n\r", "\n\n", ""]))
    text = newline.join(delimiter.join(row) for row in rows)
    encoding = draw(st.sampled_from(["utf-8", "utf-8", "utf-8-sig", "utf-16", *ENCODINGS]))
    content = text.encode(encoding, "replace") * draw(st.sampled_from([1, 1, 1, 1, 50]))
    return draw(spoiled(content))


@st.composite
def spoiled(draw: st.DrawFn, content: bytes) -> bytes:
    """The same, perhaps with some of it cut off, repeated, or written over."""
    for _ in range(draw(st.sampled_from([0, 0, 1, 3]))):
        start = draw(st.integers(0, len(content)))
        end = draw(st.integers(start, min(len(content), start + 20)))
        content = content[:start] + draw(st.binary(max_size=6)) + content[end:]
    return content


@st.composite
def endless(draw: st.DrawFn) -> bytes:
    """A list with an address that is very long, of combining marks perhaps."""
    start = draw(st.sampled_from(["", "a", "a@", "a@x", '"a']))
    end = draw(st.sampled_from(["", "@x.de", ".com", '"@x.de', " <a@x.de>"]))
    unit = draw(
        st.sampled_from(["a", "a.", "a-", "@", "a@", "a ", "=", "\\", "ü", "\u0301", "a\u0301"])
        | st.sampled_from(["\u0301\u0316", "\ufdfa", "\u2028", "\u1100\u1161", "1,1", "＝"])
    )
    address = start + unit * (draw(st.sampled_from([513, 130_000, 500_000])) // len(unit)) + end
    before, behind = draw(st.sampled_from([(0, 1), (1, 0), (1, 1), (300, 1)]))
    rows = [f"user{number}@x.de" for number in range(before + behind)]
    return "\n".join([*rows[:before], address, *rows[before:]]).encode()


@st.composite
def wide(draw: st.DrawFn) -> bytes:
    """A table with a row of very many cells, beyond the rows that are looked at first, perhaps."""
    delimiter = draw(st.sampled_from([*DELIMITERS.values()]))
    cell = draw(st.sampled_from(["", "a", "a@x.de", '""', "\u0301"]))
    row = delimiter.join(["wide@x.de", *[cell] * draw(st.sampled_from([200, 16_000, 100_000]))])
    rows = [f"user{number}@x.de{delimiter}{number}" for number in range(4000)]
    before, behind = draw(st.sampled_from([(0, 1), (150, 100), (300, 0), (2000, 2000)]))
    return "\n".join([*rows[:before], row, *rows[before : before + behind]]).encode()


usual = st.one_of(tables(), tables(), tables(), st.binary(max_size=60))
rare = {1: damaged.books, 2: endless(), 3: wide(), 4: damaged.markup, 5: damaged.packed(usual)}
files = st.integers(1, RARE).flatmap(lambda number: rare.get(number, usual))
# What may be sent instead of all.
KINDS = {
    "all": files,
    "workbooks": damaged.books,
    "markup": damaged.markup,
    "packed": damaged.packed(usual | damaged.markup | damaged.books),
}
says = st.one_of(st.text(max_size=6), st.sampled_from(["1", "2", "yes", "no", "utf-8", "tab", "a"]))
fields = st.dictionaries(
    st.sampled_from(["column", "delimiter", "encoding", "header", "size", "text"]), says, max_size=2
)
filenames = st.one_of(st.just("list.csv"), st.text(max_size=8))


class Attack:
    """Sends files to the app at a site, over one connection."""

    def __init__(self, app: Process) -> None:
        self._app = app
        self.sent = 0
        # Answers that took longer than SECONDS, and didn't when they were asked for again.
        self.late = 0
        self.answers: dict[int, int] = {}
        self._connection = app.site().connection()

    def __call__(self, content: bytes, filename: str, texts: dict[str, str]) -> None:
        # As browsers do it.
        quoted = filename.replace('"', "%22").replace("\r", "%0D").replace("\n", "%0A")
        body = form(content, quoted, behind=texts)
        for path in ("/api/preview", "/api/upload"):
            status, answer = self._ask("POST", path, body)
            assert status in (200, 201, 400, 413, 415, 422), (path, status, answer)
            document = json.loads(answer)
            if status >= 400:
                assert document["code"] != "internal_error"
                assert document["detail"], document
            self.answers[status] = self.answers.get(status, 0) + 1
        if status == 201 and len(content) >= LARGE:
            self._look_at(document["batchId"])
        self.sent += 1

    def _look_at(self, batch_id: int) -> None:
        batch = f"batches/{batch_id}"
        for path in (f"/{batch}", f"/api/{batch}/emails?limit=500&q=a", f"/api/{batch}/rows"):
            status, answer = self._ask("GET", path)
            assert status == 200, (path, status, answer)
            assert len(answer) < 2_000_000, path

    def close(self) -> None:
        self._connection.close()

    def _ask(self, method: str, path: str, body: bytes = b"") -> tuple[int, bytes]:
        """Status and body of the answer, which comes soon."""
        status, answer, seconds = self._send(method, path, body)
        if seconds > SECONDS:  # perhaps the machine did something else
            self.late += 1
            before = self._app.cpu_seconds()
            status, answer, seconds = self._send(method, path, body)
            worked = self._app.cpu_seconds() - before
            took = f"{path} took {seconds:.1f} s, {worked:.1f} s of them in the app"
            busy = worked <= BUSY_CPU_SECONDS and seconds <= BUSY_SECONDS
            assert seconds <= SECONDS or busy, took
        return status, answer

    def _send(self, method: str, path: str, body: bytes) -> tuple[int, bytes, float]:
        begun = time.monotonic()
        headers = {"Content-Type": FORM_TYPE}
        try:
            self._connection.request(method, path, body, headers)
            response = self._connection.getresponse()
            answer = response.read()
        except (http.client.HTTPException, OSError):
            self._connection.close()
            raise
        return response.status, answer, time.monotonic() - begun


def run(
    app: Process, count: int, seed: int, kind: str = "all", *, on_progress: bool = False
) -> Attack:
    """Send so many files of a kind, one of KINDS; what Hypothesis raises comes through."""
    attack = Attack(app)
    begun = time.monotonic()

    @hypothesis.seed(seed)
    @settings(
        max_examples=count, database=None, deadline=None, suppress_health_check=list(HealthCheck)
    )
    @given(KINDS[kind], filenames, fields)
    def attack_with(content: bytes, filename: str, texts: dict[str, str]) -> None:
        attack(content, filename, texts)
        if on_progress and attack.sent % 1000 == 0:
            print(f"\r{attack.sent:,} files, {time.monotonic() - begun:.0f} s", end="", flush=True)

    try:
        attack_with()
    finally:
        attack.close()
    return attack


# What stands in a body in chunks: whole chunks, and lines that are wrong, long or without an end.
CHUNK_LINES = [
    *(b"5\r\nabcde\r\n", b"1\r\na\r\n" * 500, b"0\r\n", b"0\r\n\r\n", b"\r\n", b"\n", b"\r"),
    *(b"1;a=b\r\na\r\n" * 200, b'1;a="\\""\r\na\r\n', b"1;" + b"a" * 5_000, b"FFFF\r\n"),
    *(b"-1\r\n", b"+1\r\n", b"0x1\r\n", b"1 \r\n", b"1_0\r\n", b"9" * 5_000, b"A: " + b"b" * 5_000),
]
END_OF_CHUNKS = b"!" * 70_000  # longer than the longest chunk, and no line


def run_chunk_lines(site: Site, count: int, seed: int) -> None:
    """Send so many bodies of such lines; each is answered soon, and the app goes on."""

    @hypothesis.seed(seed)
    @settings(
        max_examples=count, database=None, deadline=None, suppress_health_check=list(HealthCheck)
    )
    @given(st.lists(st.sampled_from(CHUNK_LINES), max_size=8))
    def send(lines: list[bytes]) -> None:
        head = "POST /api/preview HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
        begun = time.monotonic()
        with socket.create_connection((site.host, site.port), timeout=20) as connection:
            connection.sendall(head.encode() + b"".join(lines) + END_OF_CHUNKS)
            answer = connection.recv(1 << 16)
        assert re.match(rb"HTTP/1.1 4\d\d ", answer), answer
        assert time.monotonic() - begun <= 5 * SECONDS

    send()
    assert site.get("/api/health").status == 200


def main() -> int:
    parser = argparse.ArgumentParser(description="Send files of nonsense to a running app.")
    parser.add_argument("--inputs", type=int, default=INPUTS, metavar="N")
    parser.add_argument("--kind", choices=KINDS, default="all")
    parser.add_argument("--seed", type=int, default=int(time.time()), metavar="N")
    arguments = parser.parse_args()
    print(f"seed {arguments.seed}")
    with bundled_servers("postgres", "redis") as (postgres, redis), temporary_folder() as folder:
        config = write_config(folder, server__port=0)
        environment = {"DATABASE_URL": postgres.url, "REDIS_URL": redis.url}
        app = Process("app.py", "--config", str(config), **environment)
        try:
            run_chunk_lines(app.site(), arguments.inputs // 100, arguments.seed)
            attack = run(app, arguments.inputs, arguments.seed, arguments.kind, on_progress=True)
            peak = app.megabytes("VmHWM")
        finally:
            app.stop()
    print(
        f"\n{attack.sent:,} files; answers {attack.answers}; late once: {attack.late};"
        f" the app's peak {peak:.0f} MB"
    )
    assert "request failed" not in app.output, app.output[-3000:]
    assert peak <= MEGABYTES, f"{peak:.0f} MB"
    return 0


if __name__ == "__main__":
    sys.exit(main())
