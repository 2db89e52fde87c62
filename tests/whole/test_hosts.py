"""Servers, app, workers and users on hosts of their own, between them cables that are unplugged."""

import contextlib
import re
import socket
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from functools import partial

import psycopg2
import pytest

from batches.intake import IntakeError
from harness import servers as own
from harness.batches import claim_next, store
from harness.installation import Installation, audited
from harness.network import Network
from harness.polling import eventually
from harness.site import Site
from postgres import database, schema
from postgres.database import UNREACHABLE, session
from torture.expected import ACKNOWLEDGED
from torture.uploads import Upload

# Seconds after which a turn counts as hung.
HUNG = 1.5


@pytest.fixture
def network():
    with Network("data", "web", "work1", "work2", "desk") as network:
        yield network


@pytest.fixture
def postgres(network):
    with own.temporary_folder() as folder, contextlib.ExitStack() as stack:
        with network["data"].entered():
            server = own.postgres(folder, network["data"].address)
            server = stack.enter_context(server)
        yield server


@pytest.fixture
def at_the_server(network, postgres):
    """A cursor of somebody who works on PostgreSQL's own host."""
    with network["data"].entered(), closing(psycopg2.connect(postgres.url)) as connection:
        connection.autocommit = True
        yield connection.cursor()


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


class Hosts(Installation):
    """Both servers on `data`, the app on `web`, its users on `desk`, and workers: all of the same
    code, told by the environment where the servers are."""

    def __init__(self, network, postgres, redis, folder, **changes):
        self._network = network
        self._postgres = postgres
        super().__init__(
            folder,
            {"DATABASE_URL": postgres.url, "REDIS_URL": redis.url},
            access__allow_anonymous="yes",
            **{"worker__turn_timeout_seconds": HUNG, **changes},
        )
        web = network["web"]
        with web.entered():
            self.start_app("--host", web.address)
        self.site = SiteFrom(self.site.url, network["desk"])

    def start_worker(self, host):
        with self._network[host].entered():
            (worker,) = self.start_workers(1)
        return worker

    def counted(self):
        """How many emails the workers have counted, by their hosts."""
        counted = Counter()
        for line in self.site.get("/metrics").body.decode().splitlines():
            if match := re.match(r'email_batch_emails_total\{.*process="(work\d):.*\} (\S+)', line):
                counted[match[1]] += float(match[2])
        return counted

    def audit(self, *uploads):
        with self._network["data"].entered():
            return audited(self._postgres.url, *uploads)


@pytest.fixture
def hosts(request, network, postgres, tmp_path):
    changes = getattr(request, "param", {})
    with contextlib.ExitStack() as stack:
        folder, data = stack.enter_context(own.temporary_folder()), network["data"]
        with data.entered():
            redis = own.redis_server(folder, address=data.address)
            redis = stack.enter_context(redis)
        hosts = Hosts(network, postgres, redis, tmp_path, **changes)
        stack.callback(hosts.close)
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

    def test_it_carries_much_at_once(self, connected):
        one, other = connected
        size = 64 << 20
        sender = threading.Thread(target=one.sendall, args=(bytes(size),))
        sender.start()
        while size:
            size -= len(other.recv(1 << 20))
        sender.join()
        assert size == 0

    def test_there_and_back_takes_twice_the_latency(self, network, connected):
        one, other = connected
        network.latency = 0.05
        there_and_back = []
        for _ in range(10):
            began = time.monotonic()
            one.sendall(b"?")
            other.sendall(other.recv(1))
            one.recv(1)
            there_and_back.append(time.monotonic() - began)
        # The fastest, because a busy machine adds to the others.
        assert 0.1 <= min(there_and_back) < 0.2

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


def test_hosts_share_batches_and_one_that_is_cut_off_comes_back_by_itself(
    network, hosts, at_the_server
):
    for host in ("work1", "work2"):
        hosts.start_worker(host)
    first, batch_id = hosts.upload(10_000)
    in_turns = partial(sessions, at_the_server, network["work1"], state="idle in transaction")
    eventually(lambda: in_turns() == 2)
    with network["work1"].cut_off():
        events = hosts.await_end(batch_id)
    assert len({event["processed"] for event in events}) > 5
    assert hosts.audit(first).redone >= 1

    before, uploads = hosts.counted(), [first]

    def both_work():
        """Perhaps not at once: one has to find out first that the servers are there again."""
        upload, batch_id = hosts.upload(8000)
        uploads.append(upload)
        hosts.await_end(batch_id)
        return all(hosts.counted()[host] > before[host] for host in ("work1", "work2"))

    eventually(both_work, 60)
    workers = hosts.site.get("/api/health").json["workers"]
    assert sorted(worker["host"] for worker in workers) == ["work1", "work2"]
    hosts.audit(*uploads)


def test_an_app_that_is_cut_off_goes_on_and_stores_nothing_by_half(network, hosts, at_the_server):
    for host in ("work1", "work2"):
        hosts.start_worker(host)
    network.latency = 0.02
    first, batch_id = hosts.upload(8000)
    during = Upload("during.csv", seed=1, size=20_000)
    content, _ = during.content()
    with hosts.site.stream(batch_id) as stream, ThreadPoolExecutor() as pool:
        answer = pool.submit(hosts.site.upload, content, during.filename)
        eventually(lambda: sessions(at_the_server, network["web"], query="COPY email %"))
        with network["web"].cut_off():
            threading.Event().wait(2.5)
        assert [*stream.events()][-1]["status"] == "completed"
        status = answer.result(60).status
    # Who sends rows has more time than who does something else.
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
    [{"worker__chunk_size": 40_000, "worker__turn_seconds": 1, "worker__processor": "check"}],
    indirect=True,
    ids=["fast"],
)
def test_everything_works_with_20_milliseconds_from_host_to_host(network, hosts):
    for host in ("work1", "work2"):
        hosts.start_worker(host)
    told = ["seconds from host to host, rows stored a second, emails processed a second"]
    for latency in (0.0, 0.02):
        network.latency = latency
        told.append("{:10.2f} {:12,.0f} {:12,.0f}".format(latency, *rate(hosts, 100_000)))
    print("\n".join(told))  # noqa: T201  # pytest -s shows it
    _, batch_id = hosts.upload(100)
    hosts.await_end(batch_id)
    path = "/api/batches/1"
    assert hosts.site.get(f"{path}/results.csv").body.count(b"\n") == 100_001
    assert len(hosts.site.get(f"{path}/emails?q=user99").json["emails"]) == 50
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
        claim = partial(claim_next, batch_id)
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
