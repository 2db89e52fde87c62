"""Servers, app, workers and users on hosts of their own, between them cables that are unplugged."""

import contextlib
import itertools
import re
import signal
import socket
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from functools import partial

import psycopg2
import pytest
import servers as own_servers
from audit import ACKNOWLEDGED, audit
from network import Network
from stage import write_slow_check
from support import Process, Site, eventually, store, write_config
from uploads import Upload

import claims
import database
import schema
from database import UNREACHABLE, session
from intake import IntakeError

# Seconds after which a turn counts as hung; and what makes turns many.
HUNG = 1.5
SLOW = {"worker__chunk_size": 500, "worker__turn_seconds": 0.2}


@pytest.fixture
def network():
    with Network("data", "web", "work1", "work2", "desk") as network:
        yield network


@pytest.fixture
def postgres(network):
    with own_servers.folder() as folder, contextlib.ExitStack() as stack:
        with network["data"].entered():
            server = own_servers.postgres(folder, network["data"].address)
            server = stack.enter_context(server)
        yield server


@pytest.fixture
def at_the_server(network, postgres):
    """A cursor of somebody who works on PostgreSQL's own host."""
    with network["data"].entered(), closing(psycopg2.connect(postgres.url)) as connection:
        connection.autocommit = True
        yield connection.cursor()


_numbers = itertools.count(1)


class SiteFrom(Site):
    """A served application, as it is reached from a host."""

    def __init__(self, url, host):
        super().__init__(url)
        self._host = host

    def connection(self):
        connection = super().connection()
        with self._host.entered():
            connection.connect()
        return connection


class Hosts:
    """Both servers on `data`, the app on `web`, and workers: all of the same code, told by the
    environment where the servers are."""

    def __init__(self, network, postgres, folder, **changes):
        self._network = network
        self._postgres = postgres
        self._processes = []
        self._stack = contextlib.ExitStack()
        data = self._stack.enter_context(own_servers.folder())
        with network["data"].entered():
            redis = own_servers.redis_server(data, address=network["data"].address)
            self._environment = {
                "DATABASE_URL": postgres.url,
                "REDIS_URL": self._stack.enter_context(redis).url,
            }
        self._config = write_config(
            folder,
            server__port=0,
            access__allow_anonymous="yes",
            worker__threads=2,
            worker__turn_timeout_seconds=HUNG,
            **(SLOW | {"worker__processor": write_slow_check(folder, 0.0005)} | changes),
        )
        self.app = self.process("web", "app.py", "--host", network["web"].address)
        self.site = SiteFrom(self.app.site().url, network["desk"])

    def process(self, host, script, *arguments):
        with self._network[host].entered():
            process = Process(
                script, "--config", str(self._config), *arguments, **self._environment
            )
        self._processes.append(process)
        return process

    def worker(self, host):
        worker = self.process(host, "worker.py")
        worker.await_line("worker started")
        return worker

    def counted(self):
        """How many emails the workers have counted, by their hosts."""
        counted = Counter()
        for line in self.site.get("/metrics").body.decode().splitlines():
            if match := re.match(r'email_batch_emails_total\{.*process="(work\d):.*\} (\S+)', line):
                counted[match[1]] += float(match[2])
        return counted

    def upload(self, size):
        """Upload a file of so many rows; what it was, and its batch's id."""
        number = next(_numbers)
        upload = Upload(f"list-{number}.csv", seed=number, size=size, standing=ACKNOWLEDGED)
        answer = self.site.upload(upload.content()[0], upload.filename)
        assert answer.status == 201, answer.body
        return upload, answer.json["batchId"]

    def await_end(self, batch_id):
        """What the page is told until the batch is completed."""
        with self.site.stream(batch_id) as stream:
            events = list(stream.events())
        assert events[-1]["status"] == "completed"
        return events

    def audit(self, *uploads):
        """What became of the uploads, by PostgreSQL's own books."""
        with (
            self._network["data"].entered(),
            closing(psycopg2.connect(self._postgres.url)) as connection,
        ):
            verdict = audit(connection, uploads)
        assert verdict.clean, verdict.findings.sentences
        return verdict

    def close(self):
        for process in self._processes:
            process.send(signal.SIGTERM)
        for process in self._processes:
            process.stop()
        self._stack.close()


@pytest.fixture
def hosts(request, network, postgres, tmp_path):
    with closing(Hosts(network, postgres, tmp_path, **getattr(request, "param", {}))) as hosts:
        yield hosts


def sessions(cursor, host, **like):
    """How many sessions a host has of which columns of pg_stat_activity are like this."""
    conditions = "".join(f" AND {column} LIKE %s" for column in like)
    cursor.execute(
        f"SELECT count(*) FROM pg_stat_activity WHERE client_addr = %s{conditions}",
        (host.address, *like.values()),
    )
    return cursor.fetchone()[0]


class TestNetwork:
    @pytest.fixture
    def connected(self, network):
        """The two ends of a connection between hosts."""
        with network["data"].entered():
            listener = socket.create_server((network["data"].address, 0))
        with listener:
            with network["desk"].entered():
                one = socket.create_connection(listener.getsockname(), 5)
            other, _ = listener.accept()
            with one, other:
                other.settimeout(5)
                yield one, other

    def test_it_carries_some_hundred_megabytes_a_second(self, connected):
        one, other = connected
        size, began = 64 << 20, time.monotonic()
        sender = threading.Thread(target=one.sendall, args=(bytes(size),))
        sender.start()
        while size:
            size -= len(other.recv(1 << 20))
        sender.join()
        assert (64 << 20) / (time.monotonic() - began) > 100e6

    def test_there_and_back_takes_twice_the_latency(self, network, connected):
        one, other = connected
        network.latency = 0.05
        began = time.monotonic()
        one.sendall(b"?")
        other.sendall(other.recv(1))
        one.recv(1)
        assert 0.1 <= time.monotonic() - began < 0.2

    def test_what_is_sent_by_or_to_a_host_that_is_cut_off_does_not_arrive(self, network, connected):
        one, other = connected
        other.settimeout(0.3)
        with network["desk"].cut_off():
            one.sendall(b"?")
            with pytest.raises(TimeoutError):
                other.recv(1)
        other.settimeout(5)
        assert other.recv(1) == b"?"

    def test_hosts_have_names_of_their_own(self, network):
        before = socket.gethostname()
        with network["work1"].entered():
            assert socket.gethostname() == "work1"
        assert socket.gethostname() == before


def test_workers_on_two_hosts_share_a_batch(hosts):
    for host in ("work1", "work2"):
        hosts.worker(host)
    upload, batch_id = hosts.upload(8000)
    events = hosts.await_end(batch_id)
    assert len({event["processed"] for event in events}) > 5
    eventually(lambda: sum(hosts.counted().values()) == events[-1]["total"])
    assert min(hosts.counted()[host] for host in ("work1", "work2")) > 1000
    workers = hosts.site.get("/api/health").json["workers"]
    assert sorted(worker["host"] for worker in workers) == ["work1", "work2"]
    hosts.audit(upload)


def test_a_worker_that_is_cut_off_loses_its_turns_to_others_and_comes_back_by_itself(
    network, hosts, at_the_server
):
    cut_off, _ = (hosts.worker(host) for host in ("work1", "work2"))
    first, batch_id = hosts.upload(10_000)
    in_turns = partial(sessions, at_the_server, network["work1"], state="idle in transaction")
    eventually(lambda: in_turns() == 2)
    with network["work1"].cut_off():
        hosts.await_end(batch_id)
    assert hosts.audit(first).redone >= 1
    cut_off.await_line(r'"reachable again".*server=postgres')
    before = hosts.counted()["work1"]
    second, batch_id = hosts.upload(8000)
    hosts.await_end(batch_id)
    eventually(lambda: hosts.counted()["work1"] > before)
    hosts.audit(first, second)


def test_an_app_that_is_cut_off_goes_on_and_stores_nothing_by_half(network, hosts, at_the_server):
    for host in ("work1", "work2"):
        hosts.worker(host)
    network.latency = 0.02
    first, batch_id = hosts.upload(8000)
    during = Upload("during.csv", seed=1, size=20_000)
    content, _ = during.content()
    with hosts.site.stream(batch_id) as stream, ThreadPoolExecutor() as pool:
        answer = pool.submit(hosts.site.upload, content, during.filename)
        eventually(lambda: sessions(at_the_server, network["web"], query="COPY email %"))
        with network["web"].cut_off():
            # For longer than the database has for a short request.
            threading.Event().wait(4)
        assert [*stream.events()][-1]["status"] == "completed"
        status = answer.result(60).status
    # The first if it was cut off while it sent the rows, for which more time is given.
    assert status in (201, 503)
    if status == 201:
        during.standing = ACKNOWLEDGED
    after, batch_id = hosts.upload(1000)
    hosts.await_end(batch_id)
    eventually(lambda: hosts.site.get("/api/health").json["unfinishedBatches"] == 0)
    hosts.audit(first, during, after)


def rate(hosts, rows):
    """Rows a second that are stored, and emails a second that are processed."""
    content = "".join(f"Person {n},user{n}@example{n % 500}.com\n" for n in range(rows)).encode()
    began = time.monotonic()
    batch_id = hosts.site.upload(content).json["batchId"]
    stored = time.monotonic() - began
    hosts.await_end(batch_id)
    batch = hosts.site.get(f"/api/batches/{batch_id}").json
    return rows / stored, rows / batch["elapsedSeconds"]


@pytest.mark.parametrize(
    "hosts",
    [{"worker__chunk_size": 20_000, "worker__turn_seconds": 1, "worker__processor": "check"}],
    indirect=True,
    ids=["fast"],
)
def test_everything_works_with_20_milliseconds_from_host_to_host(network, hosts):
    for host in ("work1", "work2"):
        hosts.worker(host)
    told = ["seconds from host to host, rows stored a second, emails processed a second"]
    for latency in (0.0, 0.02):
        network.latency = latency
        told.append("{:10.2f} {:12,.0f} {:12,.0f}".format(latency, *rate(hosts, 200_000)))
    print("\n".join(told))  # noqa: T201  # pytest -s shows it
    _, batch_id = hosts.upload(100)
    hosts.await_end(batch_id)
    path = "/api/batches/1"
    assert hosts.site.get(f"{path}/results.csv").body.count(b"\n") == 200_001
    assert len(hosts.site.get(f"{path}/emails?q=user199").json["emails"]) == 50
    assert hosts.site.get("/").status == 200
    assert hosts.site.get("/api/health").json["workersAlive"] == 2


@pytest.fixture
def pool(network, postgres, servers, monkeypatch):
    """This process's connections are from `work1`, to a PostgreSQL that is to have no patience."""
    for name in database.TCP_LIMITS:
        monkeypatch.setitem(database.TCP_LIMITS, name, 1000 if "timeout" in name else 1)
    database.disconnect()
    database.init(postgres.url, connections=5)
    with network["work1"].entered():
        with session(60):
            schema.migrate()
        yield
    database.disconnect()
    database.init(servers.database_url, connections=30)


class TestPostgresForgetsWhoIsUnplugged:
    ADDRESSES = [f"user{n}@example.com" for n in range(60_000)]

    def test_while_it_sends_what_was_claimed(self, network, pool, at_the_server):
        batch_id = store(*self.ADDRESSES, chunk_size=60_000).batch_id
        claim = partial(claims.claim_chunk, batch_id, (), 60)
        with self.unplugged_during(claim, network, at_the_server, wait_event="ClientWrite"):
            at_the_server.execute("SELECT FROM chunk FOR UPDATE SKIP LOCKED")
            assert at_the_server.rowcount == 1

    def test_while_it_waits_for_what_is_uploaded(self, network, pool, at_the_server):
        upload = partial(store, *self.ADDRESSES)
        with self.unplugged_during(upload, network, at_the_server, query="COPY email %"):
            pass

    @contextlib.contextmanager
    def unplugged_during(self, function, network, at_the_server, **when):
        """Unplug `work1` when its session that calls the function is as said; until it has none."""

        def call():
            with network["work1"].entered(), session(60):
                function()

        network.latency = 0.05
        with ThreadPoolExecutor() as threads:
            called = threads.submit(call)
            eventually(lambda: sessions(at_the_server, network["work1"], **when))
            with network["work1"].cut_off():
                eventually(lambda: not sessions(at_the_server, network["work1"]))
                yield
                with pytest.raises((*UNREACHABLE, IntakeError)):
                    called.result(20)
