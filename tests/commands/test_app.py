import json
import re
import socket

import pytest

from batches import queries
from harness.batches import store
from harness.books import query
from harness.files import csv_of
from harness.site import problem
from postgres.database import pool


class TestUpload:
    def test_stores_the_batch_rings_and_answers_with_the_accounting(self, site, queue, client):
        messages = client.pubsub()
        messages.psubscribe("batch:status:*")
        messages.get_message(timeout=30)
        response = site.upload(b"email\na@x.de\n\nA@x.de\nb@x.de\n")
        assert response.status == 201
        assert response.headers["Location"] == "/api/batches/1"
        assert response.json == {
            "batchId": 1,
            "filename": "list.csv",
            "totalEmails": 2,
            "status": "pending",
            "rows": {
                "total": 4,
                "emails": 2,
                "duplicates": 1,
                "blank": 1,
                "withoutAddress": 0,
                "furtherAddresses": 0,
                "withOtherAddresses": 0,
            },
            "format": {
                "kind": "csv",
                "encoding": "utf-8",
                "delimiter": ",",
                "header": ["email"],
                "column": 1,
                "sheet": None,
                "text": "CSV, utf-8, comma; addresses in column 1, “email”",
            },
            "processor": None,
            "options": {},
            "columns": [],
            "liveUpdates": True,
        }
        assert queue.dequeue(0.1) == 1
        assert json.loads(messages.get_message(timeout=30)["data"]) == {
            "batchId": 1,
            "revision": 1,
            "status": "pending",
            "processed": 0,
            "failed": 0,
            "total": 2,
            "waiting": 0,
            "nextAt": None,
            "paused": None,
            "perMinute": None,
            "processor": None,
            "reasons": {},
            "verdicts": {"ok": 0, "risky": 0, "unknown": 0, "invalid": 0},
        }
        messages.close()

    @pytest.mark.parametrize(
        ("content", "status", "code", "line"),
        [
            (b"", 422, "empty_file", None),
            (b"name\nAnna\n", 422, "no_address", None),
            (b"a@x.de\n\0", 415, "binary_file", 2),
            (b"a@x.de\n\xff\x01@x.de", 422, "not_utf8", 2),
            (b'a@x.de\n"' + b"b" * 200_000, 422, "cell_too_long", 2),
            (b"a@x.de\n" * 11, 413, "too_many_rows", 11),
            (b"a" * 1_000_001, 413, "content_too_large", None),
        ],
    )
    def test_a_file_that_cannot_be_a_batch_is_a_problem_and_leaves_nothing(
        self, serve, queue, content, status, code, line
    ):
        site = serve(upload__max_megabytes=1, upload__max_rows=10)
        document = problem(site.upload(content), status, code)
        assert document.get("line") == line
        assert query("SELECT (SELECT count(*) FROM batch), (SELECT count(*) FROM email)") == [
            (0, 0)
        ]
        assert queue.depth() == 0

    def test_a_request_without_the_file_is_a_problem(self, site):
        problem(site.upload(b"a@x.de\n", field="upload"), 400, "no_file")
        problem(site.request("POST", "/api/upload"), 400, "no_file")
        problem(site.request("POST", "/api/upload", b"file=a%40x.de"), 400, "no_file")
        form = b'--b\r\nContent-Disposition: form-data; name="file"\r\n\r\na@x.de\r\n--b--\r\n'
        content_type = "multipart/form-data; boundary=b"
        response = site.request("POST", "/api/upload", form, Content_Type=content_type)
        problem(response, 400, "no_file")

    @pytest.mark.parametrize(
        ("content_type", "body"),
        [
            ("multipart/form-data", b"x"),
            ("multipart/form-data; boundary=b", b"x"),
            ("multipart/form-data; boundary=b", b"--b\r\n"),
            ("multipart/form-data; boundary=b", b"--b\r\nno header\r\n\r\nx\r\n--b--\r\n"),
            ("multipart/form-data; boundary=b", b"--b\r\n" + b"X" * 100_000),
        ],
    )
    def test_a_malformed_form_is_a_problem(self, site, content_type, body):
        problem(
            site.request("POST", "/api/upload", body, Content_Type=content_type), 400, "bad_form"
        )

    def test_a_body_that_is_too_large_is_refused_before_it_is_read(self, serve):
        site = serve(upload__max_megabytes=1)
        with socket.create_connection((site.host, site.port), timeout=20) as connection:
            connection.sendall(
                b"POST /api/upload HTTP/1.1\r\nHost: x\r\nContent-Length: 9999999\r\n\r\n"
            )
            answer = connection.makefile("rb").read()
        head, body = answer.split(b"\r\n\r\n", 1)
        assert head.startswith(b"HTTP/1.1 413 ")
        assert b"Content-Type: application/problem+json" in head
        assert json.loads(body)["status"] == 413

    @pytest.mark.parametrize(
        ("given", "kept"),
        [
            ("list.csv", "list.csv"),
            ("C:\\lists\\list.csv", "list.csv"),
            ("../../etc/passwd", "passwd"),
            ("<b>ü</b>.csv", "b>.csv"),
            ("Grüße 用户.csv", "Grüße 用户.csv"),
            ("x" * 300, "x" * 200),
        ],
    )
    def test_a_filename_is_kept_without_its_path(self, site, given, kept):
        assert site.upload(b"a@x.de\n", filename=given).json["filename"] == kept

    def test_without_redis_it_is_accepted_all_the_same(self, serve, no_redis):
        response = serve(no_redis).upload(b"a@x.de\n")
        assert (response.status, response.json["liveUpdates"]) == (201, False)
        assert query("SELECT status FROM batch") == [("pending",)]

    def test_a_large_file_is_cut_into_chunks_of_the_configured_size(self, serve):
        site = serve(worker__chunk_size=1000)
        assert site.upload(csv_of(*(f"user{n}@x.de" for n in range(2500)))).status == 201
        assert query("SELECT count(*), max(last_id) FROM chunk") == [(3, 2500)]


class TestReading:
    def test_a_batch(self, site):
        batch_id = store("a@x.de", "b@x.de").batch_id
        response = site.get(f"/api/batches/{batch_id}")
        assert response.status == 200
        assert response.headers["Cache-Control"] == "no-store"
        batch = response.json
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", batch.pop("createdAt"))
        assert batch == {
            "id": batch_id,
            "filename": "list.csv",
            "uploadedBy": None,
            "totalEmails": 2,
            "processedCount": 0,
            "failedCount": 0,
            "waiting": 0,
            "nextAt": None,
            "paused": None,
            "perMinute": None,
            "processor": None,
            "options": {},
            "columns": [],
            "answers": [],
            "status": "pending",
            "revision": 1,
            "error": None,
            "reasons": {},
            "verdicts": {"ok": 0, "risky": 0, "unknown": 0, "invalid": 0},
            "rows": {
                "total": 2,
                "emails": 2,
                "duplicates": 0,
                "blank": 0,
                "withoutAddress": 0,
                "furtherAddresses": 0,
                "withOtherAddresses": 0,
            },
            "format": {
                "kind": "csv",
                "encoding": "utf-8",
                "delimiter": ",",
                "header": None,
                "column": 1,
                "sheet": None,
                "text": "CSV, utf-8, comma; addresses in column 1",
            },
            "startedAt": None,
            "completedAt": None,
            "elapsedSeconds": None,
            "ending": "",
            "reasonDetails": [],
            "rate": None,
            "secondsLeft": None,
            "rates": None,
            "history": [],
        }

    @pytest.mark.parametrize("batch_id", ["1", "0", "-1", "9" * 19, "9" * 30])
    def test_an_unknown_batch_is_a_problem(self, site, batch_id):
        problem(site.get(f"/api/batches/{batch_id}"), 404, "batch_not_found")

    def test_batches_come_newest_first_and_page_by_page(self, site):
        ids = [store("a@x.de").batch_id for _ in range(5)]
        pages, next_ = [], ""
        while next_ is not None:
            page = site.get(f"/api/batches?limit=2{next_ and f'&before={next_}'}").json
            pages.append([batch["id"] for batch in page["batches"]])
            next_ = page["next"]
        assert pages == [[ids[4], ids[3]], [ids[2], ids[1]], [ids[0]]]
        assert site.get("/api/batches").json["next"] is None

    def test_no_batches(self, site):
        assert site.get("/api/batches").json == {"batches": [], "next": None}

    @pytest.mark.parametrize(
        "query_string", ["limit=0", "limit=101", "limit=x", "limit=", "before=-1", "before=1e3",
                         f"before={2**63}", "before=%D9%A1"]
    )  # fmt: skip
    def test_a_parameter_out_of_range_is_a_problem(self, site, query_string):
        document = problem(site.get(f"/api/batches?{query_string}"), 400, "bad_parameter")
        assert document["parameter"] == query_string.split("=")[0]


class TestOutage:
    def test_without_the_database_requests_say_so_and_it_is_logged_once(
        self, site, monkeypatch, tmp_path, caplog
    ):
        pool.close_idle()
        # Where the next connection goes: to nobody.
        monkeypatch.setitem(pool.connect_params, "host", str(tmp_path))
        assert site.get("/api/health").status == 503
        response = site.get("/api/batches")
        problem(response, 503, "database_unreachable")
        assert response.headers["Retry-After"]
        problem(site.upload(b"a@x.de\n"), 503, "database_unreachable")
        assert sum("unreachable server=postgres" in message for message in caplog.messages) == 1


@pytest.fixture
def failing(database, elsewhere):
    """How PostgreSQL is to fail, in PL/pgSQL, whenever a batch is stored."""

    def fail(statement):
        elsewhere.execute(
            "CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql"
            f" AS $$ BEGIN {statement}; RETURN NEW; END $$;"
            "CREATE TRIGGER fail BEFORE INSERT ON batch FOR EACH ROW EXECUTE FUNCTION fail()"
        )

    yield fail
    elsewhere.execute("DROP FUNCTION fail CASCADE")


@pytest.mark.parametrize("code", ["57014", "55P03", "25P03", "25P04"])
def test_a_limit_that_the_database_insists_on_is_told_as_that(site, failing, caplog, code):
    said = "canceling statement due to statement timeout"
    failing(f"RAISE EXCEPTION '{said}' USING ERRCODE = '{code}'")
    response = site.upload(b"a@x.de\n")
    assert said in problem(response, 503, "database_timeout")["detail"]
    assert response.headers["Retry-After"] is None
    assert not any("unreachable" in message for message in caplog.messages)


# What only a server says that is about to be another, that recovers, or that isn't ours.
@pytest.mark.parametrize(
    "code", ["25006", "57P01", "57P02", "57P03", "57P04", "57P05", "08006", "40001", "55000"]
)
def test_what_the_wrong_server_says_is_an_outage(site, failing, caplog, code):
    failing(f"RAISE EXCEPTION 'wrong' USING ERRCODE = '{code}'")
    # Kept until the end, because a new connection may get the identity of one that is gone.
    before = [each[-1] for each in pool._connections]
    response = site.upload(b"a@x.de\n")
    problem(response, 503, "database_unreachable")
    assert response.headers["Retry-After"]
    assert site.get("/api/batches").status == 200
    assert not {*map(id, before)} & {id(each[-1]) for each in pool._connections}
    assert sum("unreachable server=postgres" in message for message in caplog.messages) == 1


class TestErrors:
    @pytest.mark.parametrize(
        ("method", "path", "status", "code"),
        [
            ("GET", "/api/nothing", 404, "not_found"),
            ("GET", "/api/batches/x", 404, "not_found"),
            ("GET", "/api/upload", 405, "method_not_allowed"),
            ("DELETE", "/api/batches", 405, "method_not_allowed"),
        ],
    )
    def test_are_problems_under_api(self, site, method, path, status, code):
        problem(site.request(method, path), status, code)

    @pytest.mark.parametrize(
        ("method", "path", "status", "heading"),
        [
            ("GET", "/nothing", 404, "There is no such page"),
            ("GET", "/%3Cscript%3E", 404, "There is no such page"),
            ("POST", "/", 405, "Method Not Allowed"),
            ("GET", "/batches/77", 404, "There is no such page"),
            ("GET", "/?batch=x", 400, "The server can&#039;t make sense of this"),
        ],
    )
    def test_are_pages_elsewhere(self, site, method, path, status, heading):
        response = site.request(method, path)
        assert response.status == status
        assert response.headers["Content-Type"].startswith("text/html")
        assert f"<h1>{heading}</h1>" in response.body.decode()
        assert f"<small>{status} ".encode() in response.body
        assert b"<script>" not in response.body

    def test_an_accident_is_a_problem_without_its_details(self, site, monkeypatch, caplog):
        def accident(*_, **__):
            raise RuntimeError("secret")

        monkeypatch.setattr(queries, "find_batches", accident)
        response = site.get("/api/batches")
        problem(response, 500, "internal_error")
        assert b"secret" not in response.body
        assert "secret" in caplog.text
        page = site.get("/")
        assert page.status == 500
        assert b"<h1>Something went wrong</h1>" in page.body
        assert b"secret" not in page.body

    @pytest.mark.parametrize(
        ("request_head", "status", "media_type"),
        [
            (b"GET /api/health HTTP/1.1\r\nContent-Length: -1", 400, b"application/problem+json"),
            (b"POST / HTTP/1.1\r\nContent-Length: 999999999999", 413, b"text/html"),
            (b"GET / HTTP/1.1\r\nX: " + b"x" * 262_144, 431, b"text/html"),
            (b"nonsense", 400, b"text/html"),
        ],
    )
    def test_what_waitress_refuses_is_said_as_the_rest(
        self, site, request_head, status, media_type
    ):
        with socket.create_connection((site.host, site.port), timeout=20) as connection:
            connection.sendall(request_head + b"\r\nHost: x\r\n\r\n")
            head, body = connection.makefile("rb").read().split(b"\r\n\r\n", 1)
        assert head.startswith((b"HTTP/1.1 %d " % status, b"HTTP/1.0 %d " % status))
        assert b"Content-Type: " + media_type in head
        assert str(status).encode() in body


class TestHeaders:
    ORIGIN = "https://intranet.example.org"

    def test_only_configured_origins_may_call(self, serve):
        site = serve(server__cors_origins=f"{self.ORIGIN} http://localhost:3000")
        answer = site.get("/api/batches", Origin=self.ORIGIN)
        assert answer.headers["Access-Control-Allow-Origin"] == self.ORIGIN
        assert answer.headers["Vary"] == "Origin"
        refused = site.get("/api/batches", Origin="https://evil.example.org")
        assert refused.headers["Access-Control-Allow-Origin"] is None
        assert site.get("/api/batches").headers["Access-Control-Allow-Origin"] is None
        error = site.get("/api/batches/7", Origin=self.ORIGIN)
        assert error.headers["Access-Control-Allow-Origin"] == self.ORIGIN

    def test_preflight(self, serve):
        site = serve(server__cors_origins=self.ORIGIN)
        asked = {"Access_Control_Request_Method": "POST"}
        answer = site.request("OPTIONS", "/api/upload", Origin=self.ORIGIN, **asked)
        assert (answer.status, answer.body) == (204, b"")
        assert answer.headers["Access-Control-Allow-Methods"] == "GET, POST, DELETE"
        refused = site.request("OPTIONS", "/api/upload", Origin="https://evil.example.org", **asked)
        problem(refused, 405, "method_not_allowed")

    def test_pages_allow_only_what_they_need(self, site):
        policy = site.get("/").headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert site.get("/").headers["X-Content-Type-Options"] == "nosniff"
