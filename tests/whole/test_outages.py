"""PostgreSQL and Redis stopped, killed, full and out of connections under app and worker."""

import contextlib
import re
import shlex
import shutil
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import unquote

import psutil
import psycopg2
import pytest
import redis
from playwright.sync_api import expect

from harness.books import assert_books_balance, query
from harness.browsing import await_completed, field, is_live
from harness.config import write_config
from harness.files import csv_of
from harness.polling import eventually
from harness.processors import write_slow_processor
from harness.servers import LASTING_COPY, made_folder, server_process, temporary_folder
from postgres import database
from relay.doorbell import Doorbell
from runtime import redis_client
from servers.keeper import BundledServer


class Server:
    """A bundled server of a test's own, with what can be done to it."""

    def __init__(self, kind, folder):
        self._server = BundledServer(kind, folder)
        self.url = self._server.url
        self.release = self._server.release
        self.process = partial(server_process, kind, folder)

    def kill(self):
        self.process().kill()

    @contextlib.contextmanager
    def stopped(self):
        """Takes connections, as the kernel does that for it, and never answers."""
        process = self.process()
        process.suspend()  # first, so that it begets no others
        children = process.children()
        for child in children:
            with contextlib.suppress(psutil.NoSuchProcess):
                child.suspend()
        try:
            yield
        finally:
            for each in (*children, process):
                with contextlib.suppress(psutil.NoSuchProcess):
                    each.resume()


@pytest.fixture
def own(request):
    """A server of the test's own; the tests' other servers are left in peace."""
    folder = made_folder()
    server = Server(request.param, folder)
    yield server
    server.release()
    shutil.rmtree(folder)


own_postgres = pytest.mark.parametrize("own", ["postgres"], indirect=True)
own_redis = pytest.mark.parametrize("own", ["redis"], indirect=True)


@pytest.fixture
def start(run, servers, own, tmp_path):
    """Start app.py or worker.py with the server of the test's own."""
    kind = "DATABASE_URL" if own.url.startswith("postgresql:") else "REDIS_URL"
    environment = {**servers.environment, kind: own.url}

    def start(script, *arguments, **changes):
        config = write_config(tmp_path, **{"server__port": 0, **changes})
        return run(script, "--config", str(config), *arguments, **environment)

    return start


def outages(process, server):
    """How often the process logged that the server was lost, and that it was back."""
    lost = [line for line in process.lines if f"event=unreachable server={server}" in line]
    back = [line for line in process.lines if f'"reachable again" server={server} ' in line]
    assert all(re.search(r"seconds=\d+\.\d( request=\w+)?$", line) for line in back)
    return len(lost), len(back)


def ended(process, site):
    site.get("/")  # of all that uses the database, an app's requests notice that it is back
    lost, back = outages(process, "postgres")
    return lost == back > 0 and (lost, back)


def completed(site, batch_id):
    batch = site.get(f"/api/batches/{batch_id}")
    return batch.status == 200 and batch.json["status"] == "completed" and batch.json


def timed(call):
    began = time.monotonic()
    return call(), time.monotonic() - began


ADDRESSES = csv_of(*(f"user{number}@example.com" for number in range(2000)))


@own_postgres
def test_requests_to_a_postgres_that_hangs_are_answered_in_time(start, own, client):
    app, worker = start("app.py"), start("worker.py", "--threads", "2")
    site = app.site()
    batch_id = site.upload(ADDRESSES).json["batchId"]
    eventually(lambda: completed(site, batch_id))
    with own.stopped(), ThreadPoolExecutor(40) as threads:
        calls = [
            lambda: site.get("/"),
            lambda: site.get("/api/health"),
            lambda: site.get("/api/batches"),
            lambda: site.get(f"/api/batches/{batch_id}"),
            lambda: site.get(f"/api/batches/{batch_id}/stream"),
            lambda: site.upload(ADDRESSES),
        ] * 5
        answers = list(threads.map(timed, calls))
        for response, _ in answers:
            assert response.status == 503
            assert response.headers["Retry-After"]
        slowest = max(seconds for _, seconds in answers)
        assert slowest < 2 * database.CONNECT_TIMEOUT
    assert eventually(lambda: site.get("/api/batches").status == 200)
    assert len(site.get("/api/batches").json["batches"]) == 1
    batch_id = site.upload(ADDRESSES).json["batchId"]
    eventually(lambda: completed(site, batch_id), 60)
    eventually(lambda: site.get("/").status == 200 and outages(app, "postgres") == (1, 1))
    assert worker.stop() == app.stop() == 0


@own_postgres
def test_a_killed_postgres_is_waited_for_and_nothing_is_lost(start, own, client, tmp_path):
    slow = write_slow_processor(tmp_path, milliseconds=1)
    changes = {"worker__processor": slow, "worker__turn_seconds": 0.2, "worker__chunk_size": 300}
    app, worker = start("app.py", **changes), start("worker.py", **changes)
    site = app.site()
    batch_id = site.upload(ADDRESSES).json["batchId"]
    for done in (200, 800):
        eventually(lambda: site.get("/api/batches").json["batches"][0]["processedCount"] > done)  # noqa: B023
        own.kill()
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


def test_terminated_connections_cost_a_turn_and_no_email(processes, database, tmp_path):
    slow = write_slow_processor(tmp_path, milliseconds=1)
    changes = {"worker__processor": slow, "worker__turn_seconds": 0.2, "worker__chunk_size": 300}
    app, worker = processes("app.py", **changes), processes("worker.py", **changes)
    site = app.site()
    batch_id = site.upload(ADDRESSES).json["batchId"]
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
    return response.status != 201 and response


def run_alone(url, *statements):
    """Run each as who may do so whatever the server is set to."""
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
# As a failover has it, and for those alone who connect meanwhile, whose sessions stay so.
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
    start, own, client, tmp_path, switch
):
    there, back = SWITCHES[switch]
    slow = write_slow_processor(tmp_path, milliseconds=1)
    changes = {"worker__processor": slow, "worker__turn_seconds": 0.2, "worker__chunk_size": 300}
    app, worker = start("app.py", **changes), start("worker.py", **changes)
    site = app.site()
    batch_id = site.upload(ADDRESSES).json["batchId"]
    eventually(lambda: site.get(f"/api/batches/{batch_id}").json["processedCount"] > 200)
    run_alone(own.url, *there)
    # PostgreSQL reads its configuration again in its own time.
    response = eventually(lambda: refused(site.upload(ADDRESSES)))
    assert (response.status, response.json["code"]) == (503, "database_unreachable")
    if "read" not in response.json["detail"]:  # its connection had just been cut
        response = site.upload(ADDRESSES)
    assert "can only be read" in response.json["detail"]
    assert response.headers["Retry-After"]
    for _ in range(10):
        health = site.get("/api/health")
        assert (health.status, health.json["database"]) == (503, "read-only")
        assert health.json["notice"]["level"] == "error"
        assert site.get("/api/batches").status == 503
    worker.await_line("unreachable server=postgres")
    run_alone(own.url, *back)
    began = time.monotonic()
    eventually(lambda: site.upload(b"a@example.com\n").status == 201)
    assert time.monotonic() - began < 10
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
    run_alone(own.url, *READ_ONLY)
    eventually(lambda: site.get("/api/health").json["database"] == "read-only")
    assert site.get("/api/batches").status == 503
    run_alone(own.url, *WRITABLE)
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
    run_alone(
        own.url,
        *(f"ALTER ROLE CURRENT_USER SET {name} = '{value}'" for name, value in LIMITS.items()),
    )
    slow = write_slow_processor(tmp_path, milliseconds=1)
    changes = {"worker__processor": slow, "worker__turn_seconds": 0.3, "worker__chunk_size": 500}
    app, worker = start("app.py", **changes), start("worker.py", **changes)
    site = app.site()
    eventually(lambda: site.get("/api/health").status == 200)
    run_alone(own.url, *LASTING_COPY)
    for _ in range(3):  # connections idle for longer than they may, in between
        response = site.upload(ADDRESSES)
        assert response.status == 201
        batch = eventually(lambda: completed(site, response.json["batchId"]), 60)  # noqa: B023
        assert (batch["processedCount"], batch["failedCount"]) == (2000, 0)
    for process in (app, worker):
        assert outages(process, "postgres") == (0, 0)
        assert not [line for line in process.lines if "Traceback" in line]


@own_redis
def test_a_redis_that_hangs_stops_nothing(start, own, database, tmp_path):
    app, worker = start("app.py"), start("worker.py")
    site = app.site()
    worker.await_line("worker started")
    with own.stopped():
        response = site.upload(ADDRESSES)
        assert (response.status, response.json["liveUpdates"]) == (201, False)
        with site.stream(response.json["batchId"]) as stream:
            assert list(stream.events())[-1]["status"] == "completed"
        # Those who come later don't wait for it again.
        response, seconds = timed(lambda: site.upload(ADDRESSES))
        assert (response.status, response.json["liveUpdates"]) == (201, False)
        assert seconds < redis_client.REDIS_TIMEOUT
        eventually(lambda: completed(site, response.json["batchId"]))
    eventually(lambda: outages(app, "redis") == outages(worker, "redis") == (1, 1))
    assert site.upload(ADDRESSES).json["liveUpdates"]


@own_redis
def test_a_killed_redis_comes_back_empty_and_all_heals(start, own, database, tmp_path):
    slow = write_slow_processor(tmp_path, milliseconds=1)
    changes = {"worker__processor": slow, "worker__turn_seconds": 0.2, "worker__chunk_size": 300}
    app, worker = start("app.py", **changes), start("worker.py", **changes)
    site = app.site()
    batch_id = site.upload(ADDRESSES).json["batchId"]
    with site.stream(batch_id) as stream:
        events = []
        for event in stream.events():
            events.append(event)
            if len(events) == 3:
                own.kill()
    assert events[-1]["status"] == "completed"
    counts = [event["processed"] for event in events]
    assert counts == sorted(counts)
    eventually(lambda: outages(app, "redis") == outages(worker, "redis") == (1, 1))
    assert site.upload(ADDRESSES).json["liveUpdates"]


@pytest.fixture
def switched(own):
    """A path that leads to `own`, or to another server; `own.url` is this path meanwhile."""
    with temporary_folder() as folder:
        other, link = Server("redis", folder), folder / "link.sock"

        def lead_to(server):
            new = folder / "new.sock"
            new.symlink_to(unquote(server.url.removeprefix("unix://")))
            new.replace(link)

        lead_to(own)
        first = own.url
        own.url = f"unix://{link}"
        yield SimpleNamespace(first=first, other=other, lead_to=lead_to)
        own.url = first
        other.release()


@contextlib.contextmanager
def replica(url):
    """A server that became a replica, of a master that is away."""
    with contextlib.closing(Doorbell(url, "email-queue")) as redis:
        redis.client.replicaof("127.0.0.1", 1)
        yield
        redis.client.replicaof("NO", "ONE")


@own_redis
def test_a_redis_that_became_a_replica_is_left_and_its_successor_found(
    own, switched, start, database
):
    app, worker = (running(start, script) for script in ("app.py", "worker.py"))
    site = app.site()
    assert eventually(lambda: site.get("/api/health").json["workersAlive"]) == 1
    with replica(switched.first):
        eventually(lambda: outages(app, "redis") == outages(worker, "redis") == (1, 0))
        report = eventually(lambda: (r := site.get("/api/health").json)["notice"] and r)
        assert "read only replica" in report["notice"]["text"]
        switched.lead_to(switched.other)
        eventually(lambda: outages(app, "redis") == outages(worker, "redis") == (1, 1))
        response = site.upload(ADDRESSES)
        assert response.json["liveUpdates"]
        with site.stream(response.json["batchId"]) as stream:
            assert list(stream.events())[-1]["status"] == "completed"
    with replica(switched.other.url):
        eventually(lambda: outages(app, "redis") == outages(worker, "redis") == (2, 1))
    eventually(lambda: outages(app, "redis") == outages(worker, "redis") == (2, 2))
    assert site.upload(ADDRESSES).json["liveUpdates"]


def test_faults_that_take_turns_are_told_once_each(no_redis, caplog):
    loading = redis.BusyLoadingError("Redis is loading the dataset in memory")
    faults = [redis.ConnectionError("refused"), loading] * 5

    def fail():
        raise faults.pop()

    no_redis.trials[:] = [fail]
    no_redis.check()
    assert no_redis.refusal == str(loading)
    while faults:
        no_redis.probe()
    assert no_redis.refusal is None
    assert len(caplog.records) == 2


def running(start, script):
    process = start(script)
    if script == "worker.py":
        process.await_line("worker started")
    return process


STALE, READ = "replica-serve-stale-data", "replica-read-only"
KILL_ALL = "CLIENT KILL TYPE normal SKIPME yes", "CLIENT KILL TYPE pubsub"
# What Redis says, when it is told to refuse, and how to make it take all again.
REFUSALS = {
    "NOREPLICAS": (["CONFIG SET min-replicas-to-write 1"], ["CONFIG SET min-replicas-to-write 0"]),
    "maxmemory": (["CONFIG SET maxmemory 1"], ["CONFIG SET maxmemory 0"]),
    "RDB snapshots": (["CONFIG SET save '3600 99'", "BGSAVE"], ["CONFIG SET save ''"]),
    "MASTER is down": (
        [f"CONFIG SET {STALE} no", f"CONFIG SET {READ} no", "REPLICAOF 127.0.0.1 1"],
        ["REPLICAOF NO ONE", f"CONFIG SET {STALE} yes", f"CONFIG SET {READ} yes"],
    ),
    "authenticat": (
        ["CONFIG SET requirepass secret", *KILL_ALL],
        ["CONFIG SET requirepass ''"],
    ),
}


@own_redis
def test_a_redis_that_refuses_is_one_outage_each_time_and_told_as_what_it_is(start, own, database):
    app, worker = (running(start, script) for script in ("app.py", "worker.py"))
    site = app.site()
    batch_ids = []

    def upload():
        response = site.upload(ADDRESSES)
        batch_ids.append(response.json["batchId"])
        return response.json["liveUpdates"]

    with contextlib.closing(Doorbell(own.url, "email-queue")) as admin:
        # In the way of what BGSAVE writes.
        (Path(admin.client.config_get("dir")["dir"]) / "dump.rdb" / "full").mkdir(parents=True)
        for times, (said, (breaking, mending)) in enumerate(REFUSALS.items()):
            seen = [len(process.lines) for process in (app, worker)]
            for command in breaking:
                admin.client.execute_command(*shlex.split(command))
            upload()
            there = (times + 1, times)
            eventually(lambda: outages(app, "redis") == outages(worker, "redis") == there)  # noqa: B023
            assert not upload()
            with site.stream(batch_ids[-1]) as stream:
                assert list(stream.events())[-1]["status"] == "completed"
            eventually(lambda: said in (site.get("/api/health").json["notice"] or {})["text"])  # noqa: B023
            for command in mending:
                admin.client.execute_command(*shlex.split(command))
            back = (times + 1, times + 1)
            eventually(lambda: outages(app, "redis") == outages(worker, "redis") == back)  # noqa: B023
            assert upload()
            for process, before in zip((app, worker), seen, strict=True):
                lines = [line for line in process.lines[before:] if "server=redis" in line]
                assert len(lines) <= 3, lines  # lost, refused in another way, and back
    for batch_id in batch_ids:
        eventually(lambda: completed(site, batch_id))  # noqa: B023
    for process in (app, worker):
        assert not [line for line in process.lines if "Traceback" in line]


@own_redis
def test_a_redis_that_evicts_any_key_loses_nothing(start, own, database):
    with contextlib.closing(Doorbell(own.url, "email-queue")) as redis:
        redis.client.config_set("maxmemory-policy", "allkeys-lru")
        redis.client.config_set("maxmemory", redis.client.info()["used_memory"] + 500_000)
        app, _ = (running(start, script) for script in ("app.py", "worker.py"))
        site = app.site()
        batch_ids = []
        for number in range(8):
            batch_ids.append(site.upload(ADDRESSES).json["batchId"])
            for key in range(200):
                redis.client.set(f"other:{number}:{key}", "x" * 10_000)
        for batch_id in batch_ids:
            eventually(lambda: completed(site, batch_id), 60)  # noqa: B023
        assert redis.client.info()["evicted_keys"]
    eventually(lambda: outages(app, "redis")[0] == outages(app, "redis")[1])
    assert_books_balance()


def test_an_emptied_redis_is_rung_anew(processes, client, tmp_path):
    slow = write_slow_processor(tmp_path, milliseconds=1)
    changes = {"worker__processor": slow, "worker__turn_seconds": 0.2, "worker__chunk_size": 300}
    app, worker = processes("app.py", **changes), processes("worker.py", **changes)
    site = app.site()
    worker.await_line("worker started")
    batch_ids = [site.upload(ADDRESSES).json["batchId"] for _ in range(2)]
    flushing = threading.Event()

    def flush():
        while not flushing.wait(0.05):
            client.flushall()

    flusher = threading.Thread(target=flush)
    flusher.start()
    for batch_id in batch_ids:
        eventually(lambda: completed(site, batch_id), 60)  # noqa: B023
    flushing.set()
    flusher.join()
    assert outages(app, "redis") == outages(worker, "redis") == (0, 0)


@own_postgres
def test_an_app_that_starts_without_postgres_serves_and_says_so(start, own, client):
    with own.stopped():
        site = start("app.py").site()
        assert site.get("/").status == site.get("/api/batches").status == 503
    eventually(lambda: site.get("/api/batches").status == 200)


@own_redis
def test_the_page_moves_on_while_redis_is_killed_and_back(page, start, own, database, tmp_path):
    app = start("app.py")
    site = app.site()
    slow = write_slow_processor(tmp_path, milliseconds=2)
    worker = start("worker.py", worker__processor=slow, worker__turn_seconds=0.1)
    worker.await_line("worker started")
    content = csv_of(*(f"user{n}@example.com" for n in range(16_000)))
    batch_id = site.upload(content).json["batchId"]
    page.goto(f"{site.url}/batches/{batch_id}")

    def processed():
        return int(field(page, "processed").inner_text().replace(",", ""))

    is_live(page)
    own.kill()
    before = processed()
    eventually(lambda: processed() > before)
    eventually(lambda: outages(app, "redis") == (1, 1))  # it was started again
    with own.stopped():
        expect(field(page, "redis", "#health")).to_have_text("Redis unreachable")
        expect(page.locator("#notice")).to_contain_text("Redis can't be reached.")
        before = processed()
        eventually(lambda: processed() > before)
    expect(field(page, "redis", "#health")).to_have_text("Redis ok")
    await_completed(page, seconds=60)
