"""PostgreSQL stopped, killed, read-only and out of connections under app and worker."""

import contextlib
from concurrent.futures import ThreadPoolExecutor

import psycopg2
import pytest

from harness.books import assert_books_balance, query
from harness.outages import TWO_THOUSAND, completed, outages, timed
from harness.polling import eventually
from harness.processors import write_slow_processor
from harness.servers import LASTING_COPY
from postgres import database

own_postgres = pytest.mark.parametrize("own", ["postgres"], indirect=True)


def ended(process, site):
    """Return how often PostgreSQL was lost and back; something false while an outage goes on."""
    site.get("/")  # only by a request does an app notice that PostgreSQL is back
    lost, back = outages(process, "postgres")
    return lost == back > 0 and (lost, back)


@own_postgres
def test_requests_to_a_postgres_that_hangs_are_answered_in_time(start, own, client):
    app, worker = start("app.py"), start("worker.py", "--threads", "2")
    site = app.site()
    batch_id = site.upload(TWO_THOUSAND).json["batchId"]
    eventually(lambda: completed(site, batch_id))
    with own.stopped(), ThreadPoolExecutor(40) as threads:
        calls = [
            lambda: site.get("/"),
            lambda: site.get("/api/health"),
            lambda: site.get("/api/batches"),
            lambda: site.get(f"/api/batches/{batch_id}"),
            lambda: site.get(f"/api/batches/{batch_id}/stream"),
            lambda: site.upload(TWO_THOUSAND),
        ] * 5
        answers = list(threads.map(timed, calls))
        for response, _ in answers:
            assert response.status == 503
            assert response.headers["Retry-After"]
        slowest = max(seconds for _, seconds in answers)
        assert slowest < 2 * database.CONNECT_TIMEOUT
    assert eventually(lambda: site.get("/api/batches").status == 200)
    assert len(site.get("/api/batches").json["batches"]) == 1
    batch_id = site.upload(TWO_THOUSAND).json["batchId"]
    eventually(lambda: completed(site, batch_id), 60)
    eventually(lambda: site.get("/").status == 200 and outages(app, "postgres") == (1, 1))
    assert worker.stop() == app.stop() == 0


@own_postgres
def test_a_killed_postgres_is_waited_for_and_nothing_is_lost(start, own, client, many_turns):
    app, worker = start("app.py", **many_turns), start("worker.py", **many_turns)
    site = app.site()
    batch_id = site.upload(TWO_THOUSAND).json["batchId"]
    for done in (200, 800):
        eventually(lambda: site.get("/api/batches").json["batches"][0]["processedCount"] > done)  # noqa: B023
        with own.down():
            eventually(lambda: site.get(f"/api/batches/{batch_id}").status == 503)
        eventually(lambda: site.get(f"/api/batches/{batch_id}").status == 200, 60)
    batch = eventually(lambda: completed(site, batch_id), 60)
    assert (batch["processedCount"], batch["failedCount"]) == (2000, 0)
    with psycopg2.connect(own.url) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT count(*), count(*) FILTER (WHERE status = 'processed') FROM email")
        assert cursor.fetchall() == [(2000, 2000)]
    connection.close()
    for process in (app, worker):
        # Threads that come back while others don't are no end of an outage.
        lost, back = eventually(lambda: ended(process, site))  # noqa: B023
        assert lost == back <= 3


@own_postgres
def test_without_a_connection_left_requests_say_so_and_work_goes_on_later(start, own, client):
    app = start("app.py")
    site = app.site()
    taken = []
    with contextlib.suppress(psycopg2.OperationalError):
        while True:
            taken.append(psycopg2.connect(own.url))
    worker = start("worker.py")
    worker.await_line("unreachable server=postgres.*too many clients")
    statuses = {site.upload(b"a@example.com\n").status for _ in range(3)}
    assert statuses <= {201, 503}
    for connection in taken:
        connection.close()
    worker.await_line('"reachable again" server=postgres')
    batch_id = eventually(lambda: site.upload(b"a@example.com\n").json.get("batchId"))
    eventually(lambda: completed(site, batch_id))


def test_terminated_connections_cost_a_turn_and_no_email(processes, database, many_turns):
    app, worker = processes("app.py", **many_turns), processes("worker.py", **many_turns)
    site = app.site()
    batch_id = site.upload(TWO_THOUSAND).json["batchId"]
    for done in (100, 500, 900, 1300):
        eventually(lambda: query("SELECT processed_count FROM batch")[0][0] > done)  # noqa: B023
        query(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE pid <> pg_backend_pid() AND backend_type = 'client backend'"
        )
    eventually(lambda: completed(site, batch_id), 60)
    assert query("SELECT sum(redone) > 0 FROM chunk") == [(True,)]
    assert_books_balance()
    assert worker.stop() == 0


def refused(response):
    """Return the answer to an upload; something false if the upload was stored."""
    return response.status != 201 and response


def run_writable(url, *statements):
    """Run each statement in a session that may write even if PostgreSQL is set to read-only."""
    with contextlib.closing(psycopg2.connect(url)) as connection, connection.cursor() as cursor:
        connection.autocommit = True
        cursor.execute("SET default_transaction_read_only = off")
        for statement in statements:
            cursor.execute(statement)


CUT_ALL = (
    "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
    " WHERE pid <> pg_backend_pid() AND backend_type = 'client backend'"
)
READ_ONLY = "ALTER SYSTEM SET default_transaction_read_only = on", "SELECT pg_reload_conf()"
WRITABLE = "ALTER SYSTEM RESET default_transaction_read_only", "SELECT pg_reload_conf()"
# How PostgreSQL becomes read-only, and writable again. "failover": all sessions are cut.
# "kept sessions": none is, and each changes with the setting. "by role": sessions that begin
# meanwhile are read-only, and stay so.
SWITCHES = {
    "failover": ((*READ_ONLY, CUT_ALL), WRITABLE),
    "kept sessions": (READ_ONLY, WRITABLE),
    "by role": (
        ("ALTER ROLE CURRENT_USER SET default_transaction_read_only = on", CUT_ALL),
        ("ALTER ROLE CURRENT_USER RESET default_transaction_read_only",),
    ),
}


@own_postgres
@pytest.mark.parametrize("switch", SWITCHES)
def test_a_postgres_that_is_read_only_for_a_while_is_an_outage(
    start, own, client, many_turns, switch
):
    there, back = SWITCHES[switch]
    app, worker = start("app.py", **many_turns), start("worker.py", **many_turns)
    site = app.site()
    batch_id = site.upload(TWO_THOUSAND).json["batchId"]
    eventually(lambda: site.get(f"/api/batches/{batch_id}").json["processedCount"] > 200)
    run_writable(own.url, *there)
    # PostgreSQL reads its configuration again in its own time.
    response = eventually(lambda: refused(site.upload(TWO_THOUSAND)))
    assert (response.status, response.json["code"]) == (503, "database_unreachable")
    if "read" not in response.json["detail"]:  # its connection had just been cut
        response = site.upload(TWO_THOUSAND)
    assert "can only be read" in response.json["detail"]
    assert response.headers["Retry-After"]
    for _ in range(10):
        health = site.get("/api/health")
        assert (health.status, health.json["database"]) == (503, "read-only")
        assert health.json["notice"]["level"] == "error"
        assert site.get("/api/batches").status == 503
    worker.await_line("unreachable server=postgres")
    run_writable(own.url, *back)
    eventually(lambda: site.upload(b"a@example.com\n").status == 201)
    assert site.get("/api/health").json["database"] == "ok"
    batch = eventually(lambda: completed(site, batch_id), 60)
    assert (batch["processedCount"], batch["failedCount"]) == (2000, 0)
    for process in (app, worker):
        lost, again = eventually(lambda: ended(process, site))  # noqa: B023
        assert lost == again <= 2
        assert not [line for line in process.lines if "Traceback" in line]
    assert worker.stop() == app.stop() == 0


@own_postgres
def test_what_only_reads_learns_that_postgres_is_read_only_from_health(start, own, client):
    app = start("app.py")
    site = app.site()
    assert eventually(lambda: site.get("/api/health").json["database"] == "ok")
    run_writable(own.url, *READ_ONLY)
    eventually(lambda: site.get("/api/health").json["database"] == "read-only")
    assert site.get("/api/batches").status == 503
    run_writable(own.url, *WRITABLE)
    eventually(lambda: site.get("/api/health").json["database"] == "ok")
    assert site.get("/api/batches").status == 200


LIMITS = {
    "statement_timeout": "1s",
    "lock_timeout": "1ms",
    "transaction_timeout": "1s",
    "idle_in_transaction_session_timeout": "100ms",
    "idle_session_timeout": "200ms",
}


@own_postgres
def test_limits_of_a_role_end_nothing(start, own, client, tmp_path):
    run_writable(
        own.url,
        *(f"ALTER ROLE CURRENT_USER SET {name} = '{value}'" for name, value in LIMITS.items()),
    )
    slow = write_slow_processor(tmp_path, milliseconds=1)
    changes = {"worker__processor": slow, "worker__turn_seconds": 0.3, "worker__chunk_size": 500}
    app, worker = start("app.py", **changes), start("worker.py", **changes)
    site = app.site()
    eventually(lambda: site.get("/api/health").status == 200)
    run_writable(own.url, *LASTING_COPY)
    for _ in range(3):  # connections idle for longer than they may, in between
        response = site.upload(TWO_THOUSAND)
        assert response.status == 201
        batch = eventually(lambda: completed(site, response.json["batchId"]), 60)  # noqa: B023
        assert (batch["processedCount"], batch["failedCount"]) == (2000, 0)
    for process in (app, worker):
        assert outages(process, "postgres") == (0, 0)
        assert not [line for line in process.lines if "Traceback" in line]


@own_postgres
def test_an_app_that_starts_without_postgres_serves_and_says_so(start, own, client):
    with own.stopped():
        site = start("app.py").site()
        assert site.get("/").status == site.get("/api/batches").status == 503
    eventually(lambda: site.get("/api/batches").status == 200)
