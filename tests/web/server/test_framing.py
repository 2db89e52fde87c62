"""Requests that can be read in two ways, or whose reading would take for ever, are refused."""

import contextlib
import json
import random
import re
import time
from io import BytesIO
from urllib.parse import quote

import pytest

from harness.batches import store
from harness.files import csv_of
from harness.site import HOST, answer, connect
from web.server import connections, framing
from web.server.framing import MAX_LINE, MAX_LINES, Chunked, FramingError

POST = b"POST /api/upload HTTP/1.1\r\n"
CHUNKED = b"Transfer-Encoding: chunked\r\n"
END = b"\r\n"
NINES = b"9" * 5_000

MALFORMED = {
    "two lengths": POST + HOST + b"Content-Length: 5\r\n" + CHUNKED + END + b"0\r\n\r\n",
    "two lengths, the other way": POST + HOST + CHUNKED + b"Content-Length: 5\r\n" + END,
    "no encoding and a length": POST + HOST + b"Content-Length: 5\r\nTransfer-Encoding:\r\n\r\n",
    "Content-Length twice": POST + HOST + b"Content-Length: 5\r\nContent-Length: 5\r\n\r\n",
    "thousands of digits": POST + HOST + b"Content-Length: " + NINES + b"\r\n\r\n",
    "twenty digits": POST + HOST + b"Content-Length: " + b"1" * 20 + b"\r\n\r\n",
    "a sign": POST + HOST + b"Content-Length: +5\r\n\r\n",
    "an underscore": POST + HOST + b"Content-Length: 1_0\r\n\r\n",
    "other digits": POST + HOST + b"Content-Length: \xb2\r\n\r\n",
    "chunked twice": POST + HOST + b"Transfer-Encoding: chunked, chunked\r\n\r\n",
    "chunked in two headers": POST + HOST + CHUNKED + CHUNKED + END,
    "chunked in HTTP/1.0": POST.replace(b"1.1", b"1.0") + HOST + CHUNKED + END,
    "no host": b"GET /api/health HTTP/1.1\r\n\r\n",
    "two hosts": b"GET /api/health HTTP/1.1\r\n" + HOST + HOST + END,
    "a host and an empty one": b"GET /api/health HTTP/1.1\r\n" + HOST + b"Host:\r\n\r\n",
    "a host of other characters": b"GET /api/health HTTP/1.1\r\nHost: localhost/a\r\n\r\n",
    "a host with a name": b"GET /api/health HTTP/1.1\r\nHost: a@localhost\r\n\r\n",
    "a host with a port of thousands": b"GET /api/ HTTP/1.1\r\nHost: a:" + NINES + b"\r\n\r\n",
    "an address elsewhere": b"GET http://other/api/health HTTP/1.1\r\n" + HOST + END,
    "an address elsewhere, 1.0": b"GET http://other/api/health HTTP/1.0\r\n\r\n",
    "an address that is none": b"GET http://[/api/ HTTP/1.1\r\n" + HOST + END,
    "an address that ends first": b"GET http://a]/api/ HTTP/1.0\r\n\r\n",
    "an address of no host": b"GET http://[zz]/api/ HTTP/1.1\r\nHost: [zz]\r\n\r\n",
    "a folded header": b"GET /api/health HTTP/1.1\r\n" + HOST + b"A: b\r\n c\r\n\r\n",
    "a folded Host": b"GET /api/health HTTP/1.1\r\nA: b\r\n Host: localhost\r\n\r\n",
    "space before a colon": b"GET /api/health HTTP/1.1\r\nHost : localhost\r\n\r\n",
    "a line feed alone": b"GET /api/health HTTP/1.1\r\n" + HOST + b"A: b\nC: d\r\n\r\n",
    "a chunk's size of thousands": POST + HOST + CHUNKED + END + NINES + b"\r\n",
    "a chunk's size with a sign": POST + HOST + CHUNKED + END + b"+5\r\nabcde\r\n",
    "a chunk's size with a prefix": POST + HOST + CHUNKED + END + b"0x5\r\nabcde\r\n",
    "a chunk that is longer": POST + HOST + CHUNKED + END + b"1\r\nabc\r\n",
    "a chunk's end without its return": POST + HOST + CHUNKED + END + b"1\na\n",
    "an endless chunk's size": POST + HOST + CHUNKED + END + b"1;" + b"a" * 10_000,
    "an endless trailer": POST + HOST + CHUNKED + END + b"0\r\nA: " + b"a" * 10_000,
}


@pytest.mark.parametrize("why", MALFORMED)
def test_what_is_malformed_is_refused_with_a_problem_and_nothing_after_it_is_a_request(site, why):
    said = answer(connect(site, MALFORMED[why] + b"\r\n\r\nGET / HTTP/1.1\r\n" + HOST + END))
    head, body = said.split("\r\n\r\n")
    assert head.split(" ")[1] == "400"
    assert head.count("HTTP/1.") == 1
    assert "application/problem+json" in head
    assert json.loads(body)["code"] == "bad_request"
    assert json.loads(body)["detail"]


def test_what_no_one_thought_of_is_answered_and_not_logged_each_time(site, monkeypatch, caplog):
    monkeypatch.setattr(framing, "check_target", lambda parser: 1 / 0)
    for _ in range(3):
        said = answer(connect(site, b"GET / HTTP/1.1\r\n" + HOST + END))
        assert said.startswith("HTTP/1.1 400")
    assert caplog.text.count("can't be parsed") == 1


def test_a_connection_that_fails_outside_the_parser_is_closed_and_not_logged_each_time(
    site, monkeypatch, caplog
):
    with monkeypatch.context() as patch:
        patch.setattr(connections.Channel, "received", lambda self, data: 1 / 0)
        for _ in range(3):
            connection = connect(site, b"GET / HTTP/1.1\r\n" + HOST + END)
            with connection, contextlib.suppress(ConnectionResetError):
                assert connection.recv(10) == b""
    assert site.get("/api/health").status == 200
    assert caplog.text.count("a connection failed") == 1
    assert "ZeroDivisionError" in caplog.text
    assert "uncaptured" not in caplog.text


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"GET /api/health HTTP/1.1\r\n" + HOST, "200"),
        (b"DELETE /api/batches/77 HTTP/1.1\r\n" + HOST, "404"),
        (POST + HOST + b"Content-Length: 0\r\n", "400"),
    ],
)
def test_who_expects_to_go_on_and_has_nothing_to_send_is_answered(site, request_, status):
    following = b"GET /api/health HTTP/1.0\r\n" + END
    said = answer(connect(site, request_ + b"Expect: 100-continue\r\n" + END + following))
    assert re.findall("HTTP/1.. ([0-9]+)", said) == [status, "200"]


def test_blank_lines_are_no_requests_but_one_before_a_request_is_borne_with(site):
    assert "blank lines" in answer(connect(site, END * 1_000))
    said = answer(connect(site, END + b"GET /api/health HTTP/1.0\r\n\r\n"))
    assert said.split(" ")[1] == "200"


def test_a_page_that_is_asked_for_wrongly_says_why_in_words(site):
    said = answer(connect(site, b"GET /batches/1 HTTP/1.1\r\n\r\n"))
    assert said.split(" ")[1] == "400"
    assert "text/html" in said
    assert "The request has no Host header" in said


@pytest.mark.parametrize(
    "head",
    [
        b"GET /api/health HTTP/1.0\r\n",
        b"GET /api/health HTTP/1.0\r\nHost: localhost\r\n",
        b"GET /api/health HTTP/1.1\r\nConnection: close\r\nHost: localhost:8080\r\n",
        b"GET /api/health HTTP/1.1\r\nConnection: close\r\nHost: [::1]:8080\r\n",
        b"GET http://LOCALHOST/api/health HTTP/1.1\r\nConnection: close\r\nHost: localhost\r\n",
    ],
)
def test_health_checks_of_all_kinds_are_answered(site, head):
    assert answer(connect(site, head + END)).split(" ")[1] == "200"


def test_a_body_in_chunks_is_read_however_it_is_cut():
    sizes = random.Random(7)
    for _ in range(50):
        parts = [b"%d" % number * sizes.randint(1, 9) for number in range(30)]
        sent = b"".join(b"%X;a=b\r\n%b\r\n" % (len(part), part) for part in parts)
        sent += b"0\r\nTrailer: x\r\n\r\nGET / HTTP"
        buffer = BytesIO()
        buffer.append = buffer.write
        receiver, rest = Chunked(buffer), sent
        while rest and not receiver.completed:
            piece = rest[: sizes.randint(1, 40)]
            rest = rest[receiver.received(piece) :]
        assert receiver.completed
        assert buffer.getvalue() == b"".join(parts)
        assert rest == b"GET / HTTP"


@pytest.mark.parametrize("line", [b"1;" + b"a" * 3_000 + b"\r\na\r\n", b"A: " + b"a" * 3_000 + END])
def test_extensions_and_trailers_have_a_limit_together(line):
    buffer = BytesIO()
    buffer.append = buffer.write
    receiver = Chunked(buffer)
    if line.startswith(b"A"):
        receiver.received(b"0\r\n")
    for _ in range(MAX_LINES // len(line)):
        receiver.received(line)
    with pytest.raises(FramingError, match="together"):
        receiver.received(line)
    assert len(line) < MAX_LINE


@pytest.mark.parametrize("start", [b"1;", b"0\r\nA: "])
def test_what_never_ends_costs_no_processor(site, start):
    begun = time.monotonic()
    with connect(site, POST + HOST + CHUNKED + END + start) as connection:
        with contextlib.suppress(ConnectionError):
            connection.sendall(b"a" * 15_000_000)
        assert site.get("/api/health").status == 200
    assert time.monotonic() - begun < 20


DIGITS = "9" * 5_000


@pytest.mark.parametrize("digits", [DIGITS, "٣", "1_0", "+1", "1e3"])
def test_a_number_that_python_would_not_read_or_would_read_too_well_is_never_an_error_of_ours(
    site, digits
):
    store("a@x.de")
    quoted = quote(digits)
    pages = [
        f"/batches/{quoted}",
        f"/?batch={quoted}",
        f"/?page={quoted}",
        f"/batches/1?page={quoted}&after={quoted}",
        f"/api/batches/{quoted}",
        f"/api/batches/{quoted}/stream",
        f"/api/batches?page={quoted}&limit={quoted}&before={quoted}",
        f"/api/batches/1/emails?limit={quoted}&after={quoted}",
        f"/api/batches/1/rows?limit={quoted}&after={quoted}",
    ]
    for page in pages:
        assert site.get(page).status < 500, page
    header = digits.encode().decode("latin-1")
    for name in ("Range", "If_Modified_Since", "Last_Event_ID", "X_Forwarded_For", "Max_Forwards"):
        value = f"bytes={header}-{header}" if name == "Range" else header
        for path in ("/api/batches/1", "/", "/static/icon.svg"):
            assert site.get(path, **{name: value}).status < 500, (name, path)
    with site.stream(1, Last_Event_ID=header) as stream:
        assert stream.status == 200
    for field in ("column", "size", "header"):
        uploaded = site.upload(csv_of("b@x.de"), path="/api/preview", **{field: digits})
        assert uploaded.status < 500, field
