"""Real PostgreSQL and Redis for all tests, started once a run, and emptied before each test."""

from __future__ import annotations

import shutil
import tempfile
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import redis
from support import Process, Site, write_config

import batchqueue
import models
import progress
import serving
import settings as settings_module
import worker
from app import Application
from batchqueue import BatchQueue
from embedded import Embedded
from progress import Hub
from serving import HttpServer
from settings import Settings
from worker import Turns


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
    monkeypatch.setattr(progress, "RECEIVE_SECONDS", 0.05)
    monkeypatch.setattr(serving, "LOOP_SECONDS", 0.05)
    monkeypatch.setattr(worker, "DEQUEUE_SECONDS", 0.1)


@pytest.fixture(scope="session")
def servers() -> Iterator[Servers]:
    # Not pytest's own folder, whose path is too long for a socket's.
    folder = Path(tempfile.mkdtemp(prefix="email-batch-"))
    running = []
    try:
        running = [Embedded(kind, folder) for kind in ("postgres", "redis")]
        yield Servers(*(server.url for server in running))
    finally:
        for server in running:
            server.release()
        shutil.rmtree(folder)


@pytest.fixture(scope="session")
def _tables(servers: Servers) -> Iterator[None]:
    models.connect(servers.database_url, connections=30)
    yield
    models.database.close_all()


@pytest.fixture
def client(servers: Servers) -> Iterator[redis.Redis]:
    """A Redis client; the server is empty."""
    client = batchqueue.connect(servers.redis_url)
    client.flushall()
    yield client
    client.close()


@pytest.fixture
def database(_tables: None) -> None:
    """Tables that are empty, with ids from 1."""
    with models.database.connection_context():
        models.database.execute_sql("TRUNCATE batch, chunk, email RESTART IDENTITY")


@pytest.fixture
def make_settings(tmp_path: Path) -> Callable[..., Settings]:
    """Settings with changes such as worker__threads=2, on any free port."""

    def make(**changes: object) -> Settings:
        path = write_config(tmp_path, **{"server__port": 0, **changes})
        return settings_module.load(path, environ={})

    return make


@pytest.fixture
def queue(client: redis.Redis) -> BatchQueue:
    return BatchQueue(client, "email-queue")


@pytest.fixture
def make_turns(
    database: None, client: redis.Redis, make_settings: Callable[..., Settings]
) -> Callable[..., Turns]:
    """What a worker thread does, with a processor and changed settings."""

    def make(processor: Callable[..., object], client: redis.Redis = client, **changes: object):  # type: ignore[no-untyped-def]
        return Turns(make_settings(**changes), client, processor, threading.Event())  # type: ignore[arg-type]

    return make


@pytest.fixture
def serve(
    database: None, client: redis.Redis, make_settings: Callable[..., Settings]
) -> Iterator[Callable[..., Site]]:
    """Serve the application by waitress in this process, with changed settings."""
    stops: list[Callable[[], None]] = []

    def start(client: redis.Redis = client, **changes: object) -> Site:
        settings = make_settings(**changes)
        stopping = threading.Event()
        hub = Hub(client, settings.redis.channel_prefix)
        server = HttpServer(Application(settings, client, hub, stopping).wsgi(), settings)
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
