"""App and workers with servers of one's own, of several kinds and behind several things."""

import contextlib
import json
import shutil
import signal
from contextlib import closing
from threading import Event, Thread
from urllib.parse import urlsplit

import psycopg2
import pytest
import redis

from harness import servers
from harness.installation import Installation, audited
from harness.polling import eventually
from harness.servers import LASTING_COPY, MASTER, PASSWORD, PASSWORD_IN_URL, RIGHTS
from harness.tls import Certificates, TlsServer
from postgres import beside, database
from postgres.beside import NoFurtherError
from postgres.database import UNREACHABLE, pool, session

# Connections of PgBouncer to PostgreSQL: fewer than the threads that want some.
SHARED = 3


class Layout:
    """Servers, and in the end app and workers that use them."""

    def __init__(self, folder):
        self.folder = folder
        self._stack = contextlib.ExitStack()
        self._data = self._stack.enter_context(servers.temporary_folder())
        self.postgres = self.start(servers.postgres)
        self.environment = {"DATABASE_URL": self.postgres.url}

    def start(self, server, *arguments, **options):
        return self.enter(server(self._data, *arguments, **options))

    def enter(self, context):
        return self._stack.enter_context(context)

    def audit(self, *uploads):
        return audited(self.postgres.url, *uploads)

    def close(self):
        self._stack.close()


def plain(layout, executable=None):
    redis_server = layout.start(servers.redis_server, executable=executable)
    layout.environment["REDIS_URL"] = redis_server.url


def pgbouncer(layout):
    plain(layout)
    bouncer = layout.start(servers.pgbouncer, layout.postgres.url, SHARED)
    layout.environment["DATABASE_URL"] = bouncer.url


def redis_user_and_tls(layout):
    user = ["--user", "batches", "on", f">{PASSWORD}", *RIGHTS]
    redis_server = layout.start(servers.redis_server, "redis", *user)
    certificates = Certificates(layout.folder)
    socket = f"unix://{redis_server.folder}/redis.sock"
    tls = layout.enter(TlsServer(socket, certificates.context))
    layout.environment["REDIS_URL"] = (
        f"rediss://batches:{PASSWORD_IN_URL}@localhost:{tls.port}/0"
        f"?ssl_ca_certs={certificates.authority}"
    )


def valkey(layout):
    plain(layout, shutil.which("valkey-server"))


# All on Debian's PostgreSQL.
LAYOUTS = [redis_user_and_tls, pgbouncer]
if shutil.which("valkey-server"):
    LAYOUTS.append(valkey)


@pytest.fixture
def layout(request, tmp_path):
    with closing(Layout(tmp_path)) as layout:
        request.param(layout)
        yield layout


@pytest.fixture
def installation(layout):
    with closing(Installation(layout.folder, layout.environment)) as installation:
        yield installation


def await_status(site, batch_id, status):
    return eventually(
        lambda: (batch := site.get(f"/api/batches/{batch_id}").json)["status"] == status and batch,
        60,
    )


def post(site, path, **fields):
    response = site.request(
        "POST", path, json.dumps(fields).encode(), Content_Type="application/json"
    )
    assert response.status == 200, response.body
    return response.json


@pytest.mark.parametrize("layout", LAYOUTS, indirect=True)
def test_nothing_is_lost_whatever_people_and_kills_do(layout, installation):
    installation.start_app()
    workers = installation.start_workers(2)
    site = installation.site
    other_app = installation.process("app.py").site()
    whole, first = installation.upload(8000)
    with other_app.stream(first) as stream:
        for event in stream.events():
            if event["processed"] and workers:
                while workers:
                    workers.pop().stop(signal.SIGKILL)
                installation.start_workers(2)
        assert event["status"] == "completed"
    assert post(site, f"/api/batches/{first}/retry", which="failed")["requeued"] > 100

    _, second = installation.upload(8000)
    await_status(site, second, "processing")
    post(site, f"/api/batches/{second}/cancel")
    before = await_status(site, second, "cancelled")
    assert before["processedCount"] < before["totalEmails"]
    assert site.request("DELETE", f"/api/batches/{second}").status == 204
    assert site.get(f"/api/batches/{second}").status == 404

    await_status(site, first, "completed")
    assert site.get(f"/api/batches/{first}/results.csv").body.count(b"\n") >= 8000
    health = site.get("/api/health").json
    assert (health["database"], health["redis"]) == ("ok", "ok")
    assert layout.audit(whole).redone >= 1


@pytest.fixture
def bounced(layout):
    """Cursors: of PostgreSQL itself, and of PgBouncer's own console."""
    with contextlib.ExitStack() as stack:

        def cursor(url):
            connection = psycopg2.connect(url)
            connection.autocommit = True
            stack.callback(connection.close)
            return connection.cursor()

        url = layout.environment["DATABASE_URL"]
        yield cursor(layout.postgres.url), cursor(f"{url.rpartition('/')[0]}/pgbouncer")


@contextlib.contextmanager
def using(layout, servers):
    """Have this process use PgBouncer."""
    database.disconnect()
    database.init(layout.environment["DATABASE_URL"], connections=SHARED)
    try:
        yield
    finally:
        database.disconnect()
        database.init(servers.database_url, connections=30)


@pytest.mark.parametrize("layout", [pgbouncer], indirect=True)
class TestPgBouncer:
    def test_many_threads_share_few_connections(self, layout, installation, bounced):
        postgres, console = bounced
        installation.start_app()
        installation.start_workers(3)
        site = installation.site
        uploads = [installation.upload(2000) for _ in range(4)]
        most = 0
        for _, batch_id in uploads:
            while site.get(f"/api/batches/{batch_id}").json["status"] != "completed":
                postgres.execute(
                    "SELECT count(*) FROM pg_stat_activity"
                    " WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"
                )
                most = max(most, *postgres.fetchone())
        console.execute("SHOW CLIENTS")
        clients = sum(row[1] == "postgres" for row in console.fetchall())
        assert most == SHARED < clients
        layout.audit(*(upload for upload, _ in uploads))

    def test_limits_of_a_role_end_nothing(self, layout, installation, bounced):
        postgres, _ = bounced
        for limit in ("statement_timeout", "idle_in_transaction_session_timeout"):
            postgres.execute(f"ALTER ROLE CURRENT_USER SET {limit} = '1s'")
        # PgBouncer has connections from before that.
        postgres.execute(
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
            " WHERE pid <> pg_backend_pid() AND backend_type = 'client backend'"
        )
        installation.start_app()
        eventually(lambda: installation.site.get("/api/health").status == 200)
        for statement in LASTING_COPY:
            postgres.execute(statement)
        installation.start_workers(1)
        upload, batch_id = installation.upload(2000)
        await_status(installation.site, batch_id, "completed")
        layout.audit(upload)

    def test_the_statement_of_a_session_that_is_cut_ends(self, layout, bounced, servers):
        postgres, _ = bounced
        cut = Event()

        def works():
            postgres.execute(
                "SELECT FROM pg_stat_activity WHERE query ~ 'as b$' AND state = 'active'"
            )
            return postgres.rowcount

        def work_until_cut(ends):
            with session(60) as current:
                if ends:
                    Thread(target=lambda: eventually(works) and [current.cut(), cut.set()]).start()
                pool.execute_sql("SELECT pg_sleep(%s) as b", (60 if ends else 0,))

        with using(layout, servers):
            work_until_cut(ends=False)
            # The next server process has been told nothing.
            postgres.execute(
                "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
                " WHERE pid <> pg_backend_pid() AND backend_type = 'client backend'"
            )
            with pytest.raises(UNREACHABLE):
                work_until_cut(ends=True)
            assert cut.wait(20)
            eventually(lambda: not works(), 10)

    def test_a_thread_gives_up_that_gets_no_further_connection(self, layout, servers):
        with using(layout, servers), contextlib.ExitStack() as others:
            for _ in range(SHARED - 1):
                other = others.enter_context(closing(psycopg2.connect(pool.database)))
                other.cursor().execute("SELECT 1")  # in a transaction, which stays open
            with session(60), pool.atomic():
                pool.execute_sql("SELECT 1")
                with beside.connection() as run, pytest.raises(NoFurtherError):
                    run("SELECT 1", {})
                others.close()
                with beside.connection() as run:
                    assert run("SELECT 1", {}) == [(1,)]

    def test_the_selftest_says_what_it_needs(self, installation):
        run = installation.process("worker.py", "--selftest")
        assert run.wait(60) == 1
        (said,) = run.lines
        assert said.startswith("The selftest could not be carried out: PostgreSQL doesn't take")
        assert said.endswith("Give it the address of PostgreSQL itself, by DATABASE_URL.")

    def test_also_where_what_it_asks_for_is_ignored(self, installation, bounced):
        _, console = bounced
        console.execute("SET ignore_startup_parameters = 'options'")
        self.test_the_selftest_says_what_it_needs(installation)


def test_of_several_servers_that_which_takes_writes_is_found(tmp_path):
    with contextlib.ExitStack() as stack:
        folders = [stack.enter_context(servers.temporary_folder()) for _ in range(2)]
        standby = stack.enter_context(
            servers.postgres(folders[0], default_transaction_read_only="on")
        )
        master = stack.enter_context(servers.postgres(folders[1]))
        user, _, place = standby.url.rpartition("/")[0].rpartition("@")
        other = urlsplit(master.url)
        url = (
            f"{user}@{place},{other.hostname}:{other.port}/postgres?target_session_attrs=read-write"
        )
        installation = stack.enter_context(
            closing(Installation(tmp_path, {"DATABASE_URL": url, "REDIS_URL": "redis://nowhere"}))
        )
        installation.start_app()
        eventually(lambda: installation.site.get("/api/health").json["database"] == "ok")
        assert installation.site.upload(b"a@example.com\n").status == 201
        connection = psycopg2.connect(master.url)
        with closing(connection), connection.cursor() as cursor:
            cursor.execute("SELECT count(*) FROM email")
            assert cursor.fetchone() == (1,)


def sentinels(layout):
    """A Redis, its replica, and three Sentinels that know both."""
    layout.master = layout.start(servers.redis_server)
    place = urlsplit(layout.master.url)
    replica_of = ("--replicaof", place.hostname, str(place.port))
    layout.start(servers.redis_server, "replica", *replica_of)
    watching = [
        layout.start(servers.sentinel, f"sentinel-{number}", layout.master.url)
        for number in range(3)
    ]
    for each in watching:
        with redis.Redis.from_url(each.url, decode_responses=True) as client:
            eventually(lambda client=client: _knows_all(client))
    places = ",".join(urlsplit(each.url).netloc.rpartition("@")[2] for each in watching)
    layout.environment["REDIS_URL"] = (
        f"redis+sentinel://:{PASSWORD_IN_URL}@{places}/{MASTER}?sentinel_password={PASSWORD_IN_URL}"
    )


def _knows_all(client):
    state = client.sentinel_masters()[MASTER]
    return state["num-slaves"] == 1 and state["num-other-sentinels"] == 2


@pytest.mark.parametrize("layout", [sentinels], indirect=True)
def test_a_failover_of_redis_in_mid_batch_is_followed(layout, installation):
    app, *workers = installation.start_app(), *installation.start_workers(2)
    site = installation.site
    whole, first = installation.upload(20_000)
    seen = []
    with site.stream(first) as stream:
        for event in stream.events():
            seen.append(event["processed"])
            if event["processed"] and layout.master.alive:
                layout.master.kill()
                at_kill = len(seen)
        assert event["status"] == "completed"
    # Meanwhile the page was told what PostgreSQL said.
    assert len(seen) > at_kill + 1
    for process in (app, *workers):
        process.await_line(r"reachable again.*server=redis")
    eventually(lambda: site.get("/api/health").json["workersAlive"] == 2)
    following, second = installation.upload(2000)
    installation.await_end(second)
    layout.audit(whole, following)
