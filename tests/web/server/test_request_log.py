import re
import time
from types import SimpleNamespace

import pytest

from harness.files import csv_of
from harness.polling import eventually
from web.server import connections, request_log


@pytest.fixture
def logged(caplog):
    """A function that waits for the one log line of a request to this path; its values."""
    caplog.set_level("INFO", logger="request")

    def of(path):
        def lines():
            return [m for m in caplog.messages if re.match(rf"request .*path={path} ", m)]

        (line,) = eventually(lines)
        return dict(word.split("=", 1) for word in line.split()[1:])

    return of


def test_every_request_is_logged_once_with_its_duration_and_who_sent_it(site, logged):
    assert site.get("/api/health?verbose=1").status == 200
    line = logged("/api/health")
    assert line.pop("seconds").startswith("0.")
    assert line == {
        "method": "GET",
        "path": "/api/health",
        "status": "200",
        "user": "-",
        "client": "127.0.0.1",
    }
    assert site.upload(b"").status == 422
    assert logged("/api/upload")["status"] == "422"


def test_the_duration_begins_when_the_request_had_arrived(site, logged, monkeypatch):
    """And not when a thread begins to serve it."""
    earlier = SimpleNamespace(monotonic=lambda: time.monotonic() - 100)
    monkeypatch.setattr(connections, "time", earlier)
    assert site.get("/api/health").status == 200
    assert 100 <= float(logged("/api/health")["seconds"]) < 160
    assert site.get("/refused", X_Long="x" * 40_000).status == 431
    assert 100 <= float(logged("/refused")["seconds"]) < 160


def test_the_id_is_in_the_answer_the_error_and_the_log(processes):
    app = processes("app.py")
    site = app.site()
    problem = site.get("/api/batches/7")
    page = site.get("/batches/7")
    ids = [answer.headers["X-Request-Id"] for answer in (problem, page)]
    assert problem.json["requestId"] == ids[0]
    assert ids[1] in page.body.decode()
    assert len({*ids}) == 2
    for request_id in ids:
        assert re.fullmatch("[0-9a-f]{32}", request_id)
        app.await_line(rf"event=request method=GET path=/\S+ status=404 .* request={request_id}$")


def test_what_is_logged_on_the_way_has_the_id_too(processes):
    app = processes("app.py")
    answer = app.site().upload(csv_of("a@x.de"))
    request_id = answer.headers["X-Request-Id"]
    app.await_line(rf"event=stored batch=1 .* request={request_id}$")
    app.await_line(rf"event=request method=POST path=/api/upload .* request={request_id}$")
    assert app.stop() == 0
    assert app.lines[-1].endswith("event=stopped")


def test_requests_that_never_reach_the_application_are_logged_and_named_too(site, logged):
    answer = site.get("/api/health", Transfer_Encoding="made-up")
    assert answer.status == 501
    assert answer.json["requestId"] == answer.headers["X-Request-Id"]
    assert logged("/api/health")["status"] == "501"
    page = site.get("/nowhere", X_Long="x" * 40_000)
    assert page.headers["X-Request-Id"] in page.body.decode()


def test_a_proxy_may_name_the_request_if_it_is_trusted(serve):
    theirs = "a-proxys-own.id_7"
    stranger, proxy = serve(), serve(access__trusted_proxies="127.0.0.1")
    for site, given, kept in (
        (stranger, theirs, False),
        (proxy, theirs, True),
        (proxy, "short", False),
        (proxy, "x" * 65, False),
        (proxy, "with spaces or more=1", False),
    ):
        named = site.get("/api/health", X_Request_Id=given).headers["X-Request-Id"]
        assert (named == given) == kept


def test_a_stream_is_logged_when_it_ends(site, logged, database):
    site.upload(csv_of("a@x.de"))
    with site.stream(1) as stream:
        assert next(stream.events())["processed"] == 0
        request_id = stream.response.headers["X-Request-Id"]
        assert request_id
    site.request("POST", "/api/batches/1/cancel")
    line = logged("/api/batches/1/stream")
    assert (line["method"], line["status"]) == ("GET", "200")


def test_neither_searches_nor_addresses_in_a_path_are_logged(site, logged, caplog):
    site.get("/somebody@example.com/x?q=secret")
    assert logged(r'"\\u2026"')["status"] == "404"
    assert "somebody" not in caplog.text
    assert "secret" not in caplog.text


def test_made_up_methods_are_counted_as_one():
    assert [*map(request_log.method_label, ("GET", "BREW"))] == ["GET", "other"]
