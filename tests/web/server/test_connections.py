import time
from contextlib import ExitStack

import pytest

from harness.batches import store
from harness.files import csv_of
from harness.polling import eventually
from harness.site import ALICE, HOST, PASSWORD, answer, body, connect
from web.access import users
from web.server import connections, server


@pytest.fixture
def impatient(monkeypatch):
    monkeypatch.setattr(server, "LOOK_SECONDS", 0.05)
    monkeypatch.setattr(connections, "HEADER_SECONDS", 0.5)
    monkeypatch.setattr(connections, "BODY_SECONDS", 0.5)


@pytest.mark.parametrize("sent", [b"G", b"GET / HTTP/1.1\r\nHost: localhost\r\n", body(10) + b"1"])
def test_a_request_that_comes_too_slowly_is_given_up(impatient, site, sent):
    said = answer(connect(site, sent))
    assert said.startswith(("HTTP/1.1 408", "HTTP/1.0 408"))
    assert "came too slowly" in said
    assert "nosniff" in said


def test_a_body_that_comes_steadily_is_waited_for(impatient, site, monkeypatch):
    monkeypatch.setattr(connections, "BODY_RATE", 100)
    with connect(site, body(1000)) as connection:
        for _ in range(20):
            time.sleep(0.1)  # it is slow: that is what is tested
            connection.sendall(b"a" * 50)
        assert b"400" in connection.recv(1000)  # it was no form


def test_idle_connections_are_closed_to_make_room_and_those_at_work_are_not(serve, monkeypatch):
    monkeypatch.setattr(server, "SPARE_CONNECTIONS", 10)
    site = serve(server__max_streams=5)
    store("a@x.de")
    with ExitStack() as stack:
        stream = stack.enter_context(site.stream())
        events = stream.all_events()
        next(events)
        slow = [stack.enter_context(connect(site, b"GET / HT")) for _ in range(40)]
        assert site.get("/api/health").status == 200
        # Those that came first went first.
        assert slow[0].recv(10) == b""
        slow[-1].sendall(b"TP/1.1\r\n" + HOST + b"\r\n")
        assert slow[-1].recv(20).startswith(b"HTTP/1.1 200")
        assert next(events)


def test_others_are_answered_while_two_hundred_send_slowly_and_two_hundred_listen(serve):
    site = serve(server__max_streams=200, server__max_streams_per_client=200)
    store("a@x.de")
    with ExitStack() as stack:
        for number in range(200):
            stack.enter_context(connect(site, b"POST /api/upload HTTP/1.1\r\nX: %d" % number))
            assert stack.enter_context(site.stream(1)).status == 200
        for _ in range(20):
            begun = time.monotonic()
            assert site.get("/").status == 200
            assert time.monotonic() - begun < 30
        assert site.upload(csv_of("b@x.de")).status == 201
        refused = site.get("/api/batches/1/stream")
        assert refused.status in (429, 503)
        assert refused.headers["Retry-After"]


def test_one_client_may_have_so_many_streams_and_downloads(serve):
    site = serve(server__max_streams_per_client=2, access__trusted_proxies="127.0.0.1")
    store("a@x.de")
    with ExitStack() as stack:
        for _ in range(2):
            assert stack.enter_context(site.stream(1, X_Forwarded_For="1.1.1.1")).status == 200
        refused = site.get("/api/batches/1/stream", X_Forwarded_For="1.1.1.1")
        assert (refused.status, refused.json["code"]) == (429, "too_many_streams")
        assert "You have 2 streams and downloads open" in refused.json["detail"]
        assert site.get("/api/batches/1/results.csv", X_Forwarded_For="1.1.1.1").status == 429
        assert site.get("/api/batches/1/results.csv", X_Forwarded_For="2.2.2.2").status == 200
        with site.stream(1, X_Forwarded_For="2.2.2.2") as stream:
            assert stream.status == 200
    eventually(
        lambda: site.get("/api/batches/1/results.csv", X_Forwarded_For="1.1.1.1").status == 200
    )


def test_headers_and_query_strings_have_a_limit(site):
    assert site.get("/api/batches?q=" + "a" * 40_000).status == 431
    assert site.get("/api/batches", X_Long="a" * 40_000).status == 431
    assert site.get("/api/batches?" + "&".join(f"q{n}=1" for n in range(4_000))).status == 200


@pytest.fixture
def kept(monkeypatch):
    """How many bytes of bodies room was asked for, each time."""
    kept = []
    take = connections.Bodies.take
    monkeypatch.setattr(
        connections.Bodies,
        "take",
        lambda self, size, *files: kept.append(size) or take(self, size, *files),
    )
    return kept


def test_who_has_not_signed_in_stores_no_body(serve, tmp_path, monkeypatch, kept):
    monkeypatch.setattr(users, "_N", 2)
    users.add(tmp_path / "users", "alice", PASSWORD)
    site = serve()
    content = b"a" * 3_000_000
    said = answer(connect(site, body(len(content)) + content))
    assert said.startswith("HTTP/1.1 401")
    assert "Www-Authenticate: Basic" in said
    assert '"code": "unauthorized"' in said
    assert sum(kept) < 100_000
    # A form without a file may be looked at, to say who it is that sends it.
    assert answer(
        connect(site, body(7).replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n") + b"which=a")
    ).startswith("HTTP/1.1 401")
    headers = b"Authorization: %b\r\n" % ALICE.encode()
    with connect(site, body(len(content)).replace(HOST, HOST + headers) + content) as connection:
        assert connection.recv(20).startswith(b"HTTP/1.1 400")  # it is read, and no form


def test_bodies_have_so_much_room_together_and_give_it_back(serve, monkeypatch, kept):
    monkeypatch.setattr(server, "LARGEST_UPLOADS", 1)
    monkeypatch.setattr(server, "FORM_OVERHEAD", 100_000)
    site = serve(upload__max_megabytes=1)
    half = b"a" * 600_000
    with connect(site, body(1_000_000) + half):
        # It has more than half of the room: another that came at once might have that instead.
        eventually(lambda: sum(kept) > 550_000)

        def refused():
            said = answer(connect(site, body(len(half)) + half + b"GET / HTTP/1.0\r\n\r\n"))
            return "503 Service Unavailable" in said and "Retry-After: 5" in said

        eventually(refused)
        assert site.upload(csv_of("a@x.de")).status == 201
    # That upload was broken off.
    content = b"".join(b"%d@example.com\n" % number for number in range(30_000))
    eventually(lambda: site.upload(content).status == 201)
    for _ in range(2):
        assert site.upload(content).status == 201


def test_a_client_that_goes_before_it_is_told_to_go_on_holds_nobody_up(site, monkeypatch):
    # waitress holds the lock of the connection's requests while it says so.
    send = connections.Channel.send

    def fail(self, data, do_close=True):
        if data.startswith(b"HTTP/1.1 100") and do_close:
            self.handle_close()
            return 0
        return send(self, data, do_close)

    monkeypatch.setattr(connections.Channel, "send", fail)
    head = body(1_000).replace(b"\r\n\r\n", b"\r\nExpect: 100-continue\r\n\r\n")
    for sent in (head, head + b"a" * 100, head + b"a" * 1_000):
        with connect(site, sent) as connection:
            assert connection.recv(10) == b""
        assert site.get("/api/health").status == 200


ANOTHER = b"\r\n\r\nGET /api/health HTTP/1.1\r\n" + HOST + b"\r\n"
REFUSED = {
    "too large": (body(40_000_000), ANOTHER, "413"),
    "malformed": (b"GET / HTTP/1.1\r\nno header", ANOTHER, "400"),
    "headers without an end": (b"GET / HTTP/1.1\r\nX: ", b"", "431"),
}


@pytest.mark.parametrize("reason", REFUSED)
def test_who_sends_on_after_a_refusal_hears_it(serve, reason):
    head, sent_too, status = REFUSED[reason]
    site = serve(upload__max_megabytes=39)
    connection = connect(site, head)
    for _ in range(38):  # more than all buffers hold
        connection.sendall(sent_too + b"a" * 1_000_000)
    said = answer(connection)
    assert said.split(" ", 2)[1] == status
    assert said.count("HTTP/1.") == 1


def test_who_asks_before_sending_is_refused_before_it(serve):
    site = serve(upload__max_megabytes=1)
    head = body(5_000_000).replace(b"\r\n\r\n", b"\r\nExpect: 100-continue\r\n\r\n")
    assert answer(connect(site, head)).startswith("HTTP/1.1 413")


@pytest.mark.parametrize("most", [100, 10_000_000])
def test_who_sends_on_too_slowly_or_too_much_after_a_refusal_is_cut_off(
    impatient, serve, monkeypatch, most
):
    monkeypatch.setattr(connections, "LINGER_SECONDS", 0.5 if most > 100 else 60)
    monkeypatch.setattr(server, "FORM_OVERHEAD", most - 1_000_000)
    site = serve(upload__max_megabytes=1)
    with connect(site, body(99_000_000)) as connection:
        while connection.recv(1 << 16):
            pass

        def cut_off():
            try:
                connection.sendall(b"a" * 60)
            except ConnectionError:
                return True
            return False

        eventually(cut_off)
