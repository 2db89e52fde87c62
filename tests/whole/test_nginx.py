"""The site of deploy/ in a real nginx, before a real app."""

import contextlib
import http.client
import os
import re
import shutil
import signal
import ssl

import pytest
import trustme

from harness.books import assert_books_balance, query, snapshot
from harness.config import ROOT, changed
from harness.files import csv_of
from harness.polling import eventually
from harness.processes import Running
from harness.servers import free_port, required
from harness.site import PASSWORD, Site, basic
from web.access import users

SITE = ROOT / "deploy/nginx-email-batch.conf"
# So that the client's address is another than the proxy's.
CLIENT = "127.0.0.2"
# The emails of two turns of a slow worker: 0.1 s each, and 20 ms an email.
TWO_TURNS = 10

MAIN = """
daemon off;
{user}
pid {folder}/nginx.pid;
error_log {folder}/error.log;
worker_processes 1;
events {{ worker_connections 512; }}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    include {folder}/site.conf;
}}
"""


class HttpsSite(Site):
    """The site behind nginx, as a client at CLIENT sees it."""

    def __init__(self, port, plain_port, authority):
        self.url, self.host, self.port = f"https://localhost:{port}", "localhost", port
        self.plain_port = plain_port
        self._context = ssl.create_default_context()
        authority.configure_trust(self._context)

    def connection(self):
        return http.client.HTTPSConnection(
            self.host, self.port, timeout=20, source_address=(CLIENT, 0), context=self._context
        )


@pytest.fixture
def nginx(tmp_path):
    """nginx with the site of deploy/, before the app's port that it gives, too."""
    program = shutil.which("nginx") or required(ROOT / "nginx", "nginx")
    app_port, port, plain_port = free_port(), free_port(), free_port()
    authority = trustme.CA()
    certificate = authority.issue_cert("localhost")
    certificate.private_key_pem.write_to_path(tmp_path / "key")
    for pem in certificate.cert_chain_pems:
        pem.write_to_path(tmp_path / "crt", append=True)
    places = {
        "127.0.0.1:8080": f"127.0.0.1:{app_port}",
        "listen 443": f"listen 127.0.0.1:{port}",
        "listen 80": f"listen 127.0.0.1:{plain_port}",
        "/etc/ssl/email-batch.": f"{tmp_path}/",
        "/var/www/html": f"{tmp_path}/html",
    }
    site = changed(SITE.read_text(), places)
    site = re.sub(r"\n +listen \[::\].*", "", site)
    (tmp_path / "site.conf").write_text(site)
    user = "user root;" if os.getuid() == 0 else ""
    (tmp_path / "nginx.conf").write_text(MAIN.format(folder=tmp_path, user=user))
    process = Running([program, "-c", tmp_path / "nginx.conf", "-e", tmp_path / "error.log"])
    try:
        eventually(lambda: (tmp_path / "nginx.pid").exists() or not process.alive)
        assert process.alive, process.output
        yield HttpsSite(port, plain_port, authority), app_port
    finally:
        process.stop()


@pytest.fixture
def behind(nginx, processes):
    """The site, and a function that starts the app behind it, and waits until it serves."""
    site, app_port = nginx

    def start(**changes):
        settings = {"server__port": app_port, "access__trusted_proxies": "127.0.0.1", **changes}
        app = processes("app.py", **settings)
        app.site()
        return app

    return site, start


def test_events_come_one_by_one_while_the_batch_is_processed(behind, processes, slow):
    site, start = behind
    app = start()
    uploaded = site.upload(csv_of(*(f"u{number}@x.de" for number in range(20_000))))
    assert uploaded.status == 201
    processes("worker.py", "--threads", "1", **slow)
    seen, in_a_row = [], 0
    with site.stream(1) as stream:
        assert stream.response.headers["Content-Type"].startswith("text/event-stream")
        events = stream.events()
        # If nginx held events back, they would arrive long after their emails were processed.
        while in_a_row < 5:
            seen.append(next(events)["processed"])
            in_a_row = in_a_row + 1 if snapshot(1).processed - seen[-1] <= TWO_TURNS else 0
        processes("worker.py")  # one that isn't slow
        seen += (event["processed"] for event in events)
    assert seen == sorted(seen)
    assert seen[-1] == 20_000
    assert app.stop() == 0


def test_what_is_too_large_is_answered_by_the_app(behind):
    site, start = behind
    start(upload__max_megabytes=1)
    answer = site.upload(csv_of(*(f"{number:030}@example.com" for number in range(80_000))))
    assert answer.status == 413
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert "Split the file" in answer.json["detail"]
    assert query("SELECT count(*) FROM batch") == [(0,)]


def test_users_sign_in_through_it_and_who_they_are_and_where_cannot_be_made_up(behind, tmp_path):
    site, start = behind
    users.add(tmp_path / "users", "alice", PASSWORD)
    app = start()
    asked = site.get("/")
    assert asked.status == 401
    assert asked.headers["WWW-Authenticate"].startswith("Basic realm=")
    answer = site.get(
        "/api/health",
        Authorization=basic("alice", PASSWORD),
        X_Forwarded_For="192.0.2.66",
        Forwarded="for=192.0.2.66",
        X_Request_Id="made-up-by-me",
    )
    assert answer.status == 200
    request_id = answer.headers["X-Request-Id"]
    assert re.fullmatch("[0-9a-f]{32}", request_id)
    app.await_line(rf"event=request .* user=alice client={CLIENT} request={request_id}$")
    assert "192.0.2.66" not in app.output


def test_a_user_that_a_client_names_is_nobody(behind):
    site, start = behind
    start(access__trusted_user_header="X-Remote-User")
    answer = site.get("/api/health", X_Remote_User="alice")
    assert (answer.status, answer.json["code"]) == (403, "no_user")


def test_the_app_is_started_anew_under_it_in_mid_batch(behind, processes, slow):
    site, start = behind
    app = start()
    assert site.upload(csv_of(*(f"u{number}@x.de" for number in range(3000)))).status == 201
    processes("worker.py", "--threads", "1", **slow)
    with site.stream(1) as stream:
        events = stream.events()
        last = next(event for event in events if event["processed"])
        app.send(signal.SIGTERM)
        assert [event["status"] for event in events][-1:] in ([], ["processing"])  # it ends
    assert app.wait() == 0
    page, api = site.get("/"), site.get("/api/batches/1")
    for answer in (page, api):
        assert (answer.status, answer.headers["Retry-After"]) == (503, "5")
        assert answer.headers["Cache-Control"] == "no-store"
    assert page.headers["Content-Type"] == "text/html; charset=utf-8"
    assert "tries again in five seconds" in page.body.decode()
    assert api.headers["Content-Type"] == "application/problem+json"
    assert re.fullmatch("[0-9a-f]{32}", api.json["requestId"])
    assert api.json["code"] == "app_away"
    start()
    eventually(lambda: site.get("/api/batches/1").status == 200)
    with site.stream(1, Last_Event_ID=str(last["revision"])) as stream:
        events = stream.events()
        rest = [next(events)]
        assert rest[0]["status"] == "processing"
        processes("worker.py")  # one that isn't slow
        rest += events
    assert rest[0]["processed"] >= last["processed"]
    assert rest[-1]["processed"] == 3000
    assert_books_balance()


def test_plain_http_leads_to_https_but_for_renewing_the_certificate(nginx, tmp_path):
    site, _ = nginx
    challenges = tmp_path / "html/.well-known/acme-challenge"
    challenges.mkdir(parents=True)
    (challenges / "token").write_text("proof")
    plain = Site(f"http://127.0.0.1:{site.plain_port}")
    led = plain.get("/batches/1?q=x", Host="b.example")
    assert led.status == 301
    assert led.headers["Location"] == "https://b.example/batches/1?q=x"
    assert plain.get("/.well-known/acme-challenge/token").body == b"proof"
    assert plain.get("/.well-known/acme-challenge/other").status == 404


def test_numbers_are_for_this_machine_only(behind):
    site, start = behind
    start()
    for path in (
        "/metrics",
        "//metrics",
        "/./metrics",
        "/x/../metrics",
        "/%6detrics",
        "/%2fmetrics",
        "/%2e/metrics",
        "/x%2f../metrics",
        "/api/..%2fmetrics",
        "/metrics?x",
        "/metrics#x",
    ):
        assert site.get(path).status == 403, path
    for path in (
        "/%ffmetrics",
        "/metrics%ff",
        "/metrics/",
        "/metrics%00",
        "/metrics%0a",
        "/%09metrics",
        "/metrics%20",
        "/metrics%2f",
        "/metrics%2f.",
        "/metrics%3fx",
        "/metrics%23x",
        "/metrics;x",
        "/;x/metrics",
        "/x#/../metrics",
        "//x/metrics",
        "/%256detrics",
        "/%5cmetrics",
        "/\\metrics",
        "/..%5cmetrics",
        "/METRICS",
        "/%ef%bb%bfmetrics",
    ):
        assert site.get(path).status in (400, 404), path
    assert site.get("/").headers["Strict-Transport-Security"] == "max-age=31536000"
    forms = {"Sec_Fetch_Site": "same-origin", "Origin": f"https://localhost:{site.port}"}
    assert site.request("POST", "/upload", b"", **forms).status in (400, 411, 422)


def test_a_health_check_without_host_is_answered(behind):
    site, start = behind
    start(access__allow_anonymous="yes")
    with contextlib.closing(site.connection()) as connection:
        connection.connect()
        connection.sock.sendall(b"GET /api/health HTTP/1.0\r\n\r\n")
        assert b" 200 " in connection.sock.recv(1_000)
