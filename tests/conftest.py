"""Real PostgreSQL and Redis for all tests, started once a run, and emptied before each test."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import psycopg2
import pytest
import redis
from hypothesis import HealthCheck, settings

# Before its modules are imported, so that pytest explains their failed assertions, too.
pytest.register_assert_rewrite("harness")

pytest_plugins = ["harness.tabs"]

from admin.backup import TABLES
from app import wsgi
from harness.batches import store
from harness.config import write_config
from harness.lists import DefaultList
from harness.nameserver import Nameserver
from harness.polling import eventually
from harness.processes import Process, run_script
from harness.processors import write_slow_processor
from harness.servers import bundled_servers, database_of_its_own
from harness.site import Site
from postgres import database, schema
from relay import hub as hub_module
from relay import presence
from relay.batch_queue import BatchQueue
from relay.doorbell import Doorbell
from relay.hub import Hub
from relay.presence import Presence
from runtime import few_at_once
from runtime import settings as settings_module
from runtime.entries import CHECK
from runtime.few_at_once import FewAtOnce
from runtime.settings import Settings
from web.access.sign_in import Access
from web.server import server as server_module
from web.server.server import HttpServer
from web.services import Services
from work import turns
from work.loaded import Loaded
from work.turns import Turns

# An example takes as long as it takes: on a busy machine, that says nothing.
settings.register_profile("tests", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("tests")

TESTS = Path(__file__).parent
# The folders in which single tests take many seconds, the longest first.
LONGEST = ("whole", "torture", "browser", "commands")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the longest tests, and deal them to all processes, each of which gets a slice.

    A long one that began last would go on while the other processes have nothing left to do.
    """
    items.sort(key=lambda item: _place(item.path.relative_to(TESTS).parts[0]))
    processes = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    items[:] = [item for first in range(processes) for item in items[first::processes]]


def _place(folder: str) -> int:
    return LONGEST.index(folder) if folder in LONGEST else len(LONGEST)


@dataclass(frozen=True)
class Servers:
    database_url: str
    redis_url: str

    @property
    def environment(self) -> dict[str, str]:
        return {"DATABASE_URL": self.database_url, "REDIS_URL": self.redis_url}


@pytest.fixture(autouse=True)
def _short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Servers within this process stop at once, so that hundreds of tests take no minutes."""
    monkeypatch.setattr(hub_module, "RECEIVE_SECONDS", 0.05)
    monkeypatch.setattr(server_module, "LOOP_SECONDS", 0.05)
    monkeypatch.setattr(turns, "DEQUEUE_SECONDS", 0.1)


@pytest.fixture(scope="session")
def servers() -> Iterator[Servers]:
    with bundled_servers("postgres", "redis") as running:
        yield Servers(*(server.url for server in running))


@pytest.fixture(scope="session")
def _tables(servers: Servers) -> Iterator[None]:
    database.init(servers.database_url, connections=30)
    with database.session(60):
        schema.migrate()
    yield
    database.disconnect()


@pytest.fixture
def doorbell(servers: Servers) -> Iterator[Doorbell]:
    """A doorbell with an empty Redis."""
    doorbell = Doorbell(servers.redis_url, "email-queue")
    doorbell.client.flushall()
    yield doorbell
    doorbell.close()


@pytest.fixture
def client(doorbell: Doorbell) -> redis.Redis:
    """A client of that Redis."""
    return doorbell.client


@pytest.fixture
def no_redis(tmp_path: Path) -> Iterator[Doorbell]:
    """A doorbell whose Redis never answers."""
    doorbell = Doorbell(f"unix://{tmp_path}/nobody.sock", "email-queue")
    yield doorbell
    doorbell.close()


@pytest.fixture(name="database")
def _database(_tables: None) -> None:
    """Tables that are empty, with ids from 1."""
    tables = {*TABLES} - {"schema_version"}

    def emptied() -> bool:
        try:
            with database.session(60):
                database.pool.execute_sql(f"TRUNCATE {', '.join(tables)} RESTART IDENTITY")
        except database.UNREACHABLE:  # what is left of a test of just that
            return False
        return True

    eventually(emptied)


@pytest.fixture
def elsewhere(servers: Servers) -> Iterator[Any]:
    """A cursor of another connection."""
    connection = psycopg2.connect(servers.database_url)
    connection.autocommit = True
    yield connection.cursor()
    connection.close()


@pytest.fixture
def make_settings(tmp_path: Path) -> Callable[..., Settings]:
    """Settings with changes such as worker__threads=2, on any free port."""

    def make(**changes: object) -> Settings:
        path = write_config(tmp_path, **{"server__port": 0, **changes})
        return settings_module.load(path, environ={})

    return make


@pytest.fixture
def queue(client: redis.Redis) -> DefaultList:
    """The list of the default processor."""
    return DefaultList(BatchQueue(client, "email-queue", CHECK), CHECK)


@pytest.fixture
def make_services(
    database: None, doorbell: Doorbell, make_settings: Callable[..., Settings]
) -> Callable[..., turns.Services]:
    """Make the Services of a worker, with a processor, or several by name, and changed settings."""

    def make(processor: Any, doorbell: Doorbell = doorbell, **changes: object) -> turns.Services:
        settings = make_settings(**changes)
        named = processor if isinstance(processor, dict) else {None: processor}
        loaded = [Loaded(settings.processor(name), each) for name, each in named.items()]  # type: ignore[arg-type]
        return turns.Services(settings, doorbell, loaded)

    return make


@pytest.fixture
def make_turns(make_services: Callable[..., turns.Services]) -> Callable[..., Turns]:
    """Make the Turns of one thread of a worker; the arguments are those of make_services()."""
    return lambda *arguments, **changes: Turns(make_services(*arguments, **changes), 1)


@pytest.fixture
def serve(
    database: None, doorbell: Doorbell, make_settings: Callable[..., Settings]
) -> Iterator[Callable[..., Site]]:
    """Serve the application by waitress in this process, with changed settings."""
    stops: list[Callable[[], None]] = []

    def start(doorbell: Doorbell = doorbell, **changes: object) -> Site:
        settings = make_settings(**changes)
        stopping = threading.Event()
        hub = Hub(doorbell, settings.redis.channel_prefix)
        access = Access(settings)
        services = Services(settings, access, doorbell, hub, stopping)
        server = HttpServer(wsgi(services), settings, access.may_send)
        thread = threading.Thread(target=server.serve, args=(stopping,))
        hub.start()
        thread.start()

        def stop() -> None:
            stopping.set()
            thread.join()
            hub.stop()

        stops.append(stop)
        return Site(server.url)

    yield start
    for stop in stops:
        stop()


@pytest.fixture
def site(serve: Callable[..., Site]) -> Site:
    return serve()


@pytest.fixture
def nameserver() -> Iterator[Nameserver]:
    with Nameserver() as nameserver:
        yield nameserver


@pytest.fixture
def run() -> Iterator[Callable[..., Process]]:
    """Start app.py or worker.py as a process; what still runs at the end is stopped."""
    started: list[Process] = []

    def start(script: str, *arguments: str, **environment: str) -> Process:
        process = Process(script, *arguments, **environment)
        started.append(process)
        return process

    yield start
    for process in reversed(started):
        process.stop()


@pytest.fixture
def processes(
    servers: Servers,
    database: None,
    client: redis.Redis,
    run: Callable[..., Process],
    tmp_path: Path,
) -> Callable[..., Process]:
    """run() with a configuration of its own and the servers of the tests."""

    def start(script: str, *arguments: str, **changes: object) -> Process:
        config = write_config(tmp_path, **{"server__port": 0, **changes})
        return run(script, "--config", str(config), *arguments, **servers.environment)

    return start


@pytest.fixture
def here(client: redis.Redis, monkeypatch: pytest.MonkeyPatch) -> Presence:
    """Announces a worker, which this process counts as alive for ten minutes."""
    monkeypatch.setattr(presence, "EXPIRE_SECONDS", 600)
    return Presence(client, "email-queue")


@pytest.fixture
def slow(tmp_path: Path) -> dict[str, object]:
    """Settings of a worker that takes 20 ms for an email, one at a time, and 0.1 s for a turn.

    So a batch of thousands is still unfinished when a test has seen what it wants to see, on a busy
    machine too. To end the batch, the test starts a worker that isn't slow.
    """
    name = write_slow_processor(tmp_path, milliseconds=20)
    return {"worker__processor": name, "worker__turn_seconds": 0.1, "worker__threads": 1}


@pytest.fixture
def run_manage(
    servers: Servers, database: None, client: redis.Redis, tmp_path: Path
) -> Callable[..., CompletedProcess[str]]:
    """Run a verb of manage.py on the servers of the tests."""

    def run(*arguments: str, **environment: str) -> CompletedProcess[str]:
        return run_script("manage.py", tmp_path, *arguments, **servers.environment | environment)

    return run


@pytest.fixture
def document(
    run_manage: Callable[..., CompletedProcess[str]],
) -> Callable[..., tuple[int, Any]]:
    """Run a verb with --json; return its exit status and its document, the only standard output."""

    def run(verb: str, *arguments: str, **environment: str) -> tuple[int, Any]:
        done = run_manage(verb, "--json", *arguments, **environment)
        return done.returncode, json.loads(done.stdout)

    return run


@pytest.fixture
def manage(tmp_path: Path) -> Callable[..., CompletedProcess[str]]:
    """Run a verb of manage.py on the PostgreSQL at `url`, or on bundled servers."""

    def run(
        *arguments: str, url: str = "", folder: Path = tmp_path, **environment: str
    ) -> CompletedProcess[str]:
        urls = {"DATABASE_URL": url, "REDIS_URL": "unix:///nobody"} if url else {}
        return run_script("manage.py", folder, *arguments, **urls | environment)

    return run


@pytest.fixture
def other(servers: Servers) -> Iterator[str]:
    """The URL of an empty database."""
    with database_of_its_own(servers.database_url, "other") as url:
        yield url


@pytest.fixture
def small_backup(
    servers: Servers,
    database: None,
    manage: Callable[..., CompletedProcess[str]],
    tmp_path: Path,
) -> Path:
    """A backup of a batch of two emails."""
    store("a@x.de", "b")
    path = tmp_path / "b.dump"
    assert manage("backup", str(path), url=servers.database_url).returncode == 0
    return path


@pytest.fixture
def begin(servers: Servers, run: Callable[..., Process], tmp_path: Path) -> Callable[..., Process]:
    """Begin a verb of manage.py; it is ended after the test."""
    config = str(write_config(tmp_path))

    def start(*arguments: str, **environment: str) -> Process:
        return run("manage.py", "--config", config, *arguments, **servers.environment | environment)

    return start


@pytest.fixture
def few():
    few = FewAtOnce("few")
    yield few
    few.stop()


@pytest.fixture
def patient(monkeypatch):
    """No thread that was woken counts as lasting."""
    monkeypatch.setattr(few_at_once, "LASTING", 1000.0)
