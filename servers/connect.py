"""Reaching PostgreSQL and Redis, the bundled servers or others, for as long as a command runs."""

from __future__ import annotations

import contextlib
import math
import random
import tempfile
import threading
import time
from collections.abc import Iterator

from postgres import database, schema
from postgres.schema import SchemaError
from relay import trials
from relay.doorbell import Doorbell
from runtime import logs, systemd
from runtime.settings import BUNDLED, Settings
from servers.keeper import BundledServer

# Seconds between two attempts to reach a PostgreSQL that isn't there yet, at most.
RETRY_SECONDS = 1.0
# Seconds for migrating the tables, which may have to wait for another process that migrates them.
MIGRATION_SECONDS = 3600.0
# Seconds between two checks whether the migration is over.
LOOK_SECONDS = 0.2

logger = logs.Logger("connect")


@contextlib.contextmanager
def server_url(kind: str, url: str, settings: Settings) -> Iterator[str]:
    """Yield the URL of the server of this kind, `postgres` or `redis`, whose setting is `url`.

    A bundled server is started, and stopped afterwards unless another process uses it. Raises
    BundledServerError.
    """
    if url != BUNDLED:
        yield url
        return
    server = BundledServer(kind, settings.bundled_folder)
    try:
        yield server.url
    finally:
        server.release()


@contextlib.contextmanager
def postgres(
    settings: Settings, name: str, *, connections: int = 2, reads: bool = False
) -> Iterator[str]:
    """Point this process's pool at PostgreSQL, as database.init() does, and yield the URL.

    Raises BundledServerError.
    """
    with server_url("postgres", settings.database.url, settings) as url:
        database.init(url, connections=connections, name=name, reads=reads)
        try:
            yield url
        finally:
            database.disconnect()


@contextlib.contextmanager
def redis(settings: Settings) -> Iterator[Doorbell]:
    """Yield a doorbell of Redis. Raises BundledServerError."""
    with (
        server_url("redis", settings.redis.url, settings) as url,
        contextlib.closing(Doorbell(url, settings.redis.queue_key)) as doorbell,
    ):
        yield doorbell


@contextlib.contextmanager
def servers(
    settings: Settings,
    stopping: threading.Event,
    *,
    name: str,
    connections: int,
    wait: bool = True,
) -> Iterator[Doorbell]:
    """Reach PostgreSQL and Redis, as postgres() and redis() do, and migrate the tables.

    With `wait`, wait until PostgreSQL can be reached and the tables are migrated, or until
    `stopping`; without it, the migration goes on in the background.

    Raises BundledServerError and SchemaError. A SchemaError that comes late sets `stopping`, and is
    raised at the end.
    """
    with contextlib.suppress(OSError):
        # Chosen now and remembered by tempfile, which finds no folder on a disk that is full later,
        # and doesn't say why.
        tempfile.gettempdir()
    with postgres(settings, name, connections=connections), redis(settings) as doorbell:
        trials.prepare(doorbell, settings.redis.channel_prefix)
        migration = _Migration(stopping)
        migration.start()
        deadline = math.inf if wait else time.monotonic() + database.CONNECT_TIMEOUT
        while migration.is_alive() and time.monotonic() < deadline:
            migration.join(LOOK_SECONDS)
            systemd.alive()
            if wait and migration.waiting:
                systemd.ready("waiting for PostgreSQL")
        migration.raise_failure()
        yield doorbell
        migration.raise_failure()


class _Migration(threading.Thread):
    """Migrates the tables as soon as PostgreSQL can be reached."""

    def __init__(self, stopping: threading.Event) -> None:
        super().__init__(name="migration", daemon=True)
        self._stopping = stopping
        self.waiting = False
        self._failure: SchemaError | None = None

    def run(self) -> None:
        outage = logs.Outage("postgres", logger)
        while not self._stopping.is_set():
            try:
                with database.session(MIGRATION_SECONDS):
                    schema.migrate()
            except database.UNREACHABLE as error:
                outage.begin(error)
                self.waiting = True
                self._stopping.wait(RETRY_SECONDS * random.uniform(0.5, 1.0))
            except SchemaError as error:
                self._failure = error
                self._stopping.set()
            else:
                outage.end()
                return

    def raise_failure(self) -> None:
        """Raise the SchemaError that ended the migration, if there is one."""
        if self._failure is not None:
            raise self._failure
