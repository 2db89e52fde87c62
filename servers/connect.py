"""What app.py and worker.py do alike before their own work: stop on signals, reach the servers."""

from __future__ import annotations

import argparse
import contextlib
import logging
import math
import os
import random
import signal
import tempfile
import threading
import time
from collections.abc import Iterator
from queue import SimpleQueue

from postgres import database, schema
from postgres.schema import SchemaError
from relay import trials
from relay.doorbell import Doorbell
from runtime import logs, systemd
from runtime.settings import DEFAULT_PATH, VERSION, Settings
from servers.keeper import Embedded

# Seconds between two attempts to reach a PostgreSQL that isn't there yet, at most; for migrating
# the tables, which may have to wait for others that do so; and between two looks whether it's done.
RETRY_SECONDS = 1.0
MIGRATION_SECONDS = 3600.0
LOOK_SECONDS = 0.2

logger = logging.getLogger("bootstrap")


def argument_parser(description: str, epilog: str) -> argparse.ArgumentParser:
    """A command's parser, with the options that both commands have."""
    parser = argparse.ArgumentParser(
        description=description,
        epilog=epilog,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--config", metavar="FILE", help=f"the configuration (default: {DEFAULT_PATH.name} here)"
    )
    parser.add_argument("--version", action="version", version=VERSION)
    return parser


def stop_on_signals() -> threading.Event:
    """An event that SIGTERM or Ctrl-C sets; a second such signal ends the process at once."""
    stopping = threading.Event()
    # Not by the handler itself, which may interrupt the main thread in the middle of waiting for
    # the event, when it holds the event's lock. A queue's put() may be interrupted by itself.
    arrived: SimpleQueue[int] = SimpleQueue()
    stopped = False

    def stop(signum: int, _frame: object) -> None:
        nonlocal stopped
        if stopped:
            os._exit(128 + signum)
        stopped = True
        arrived.put(signum)

    def wait() -> None:
        arrived.get()
        stopping.set()

    threading.Thread(target=wait, name="signals", daemon=True).start()
    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    return stopping


@contextlib.contextmanager
def postgres_url(settings: Settings) -> Iterator[str]:
    """Where PostgreSQL is. The bundled one is started, and stopped afterwards if nobody else uses
    it. Raises EmbeddedError."""
    with _served("postgres", settings.database.url, settings) as url:
        yield url


@contextlib.contextmanager
def redis_url(settings: Settings) -> Iterator[str]:
    """Where Redis is, as postgres_url() for PostgreSQL. Raises EmbeddedError."""
    with _served("redis", settings.redis.url, settings) as url:
        yield url


@contextlib.contextmanager
def _served(kind: str, url: str, settings: Settings) -> Iterator[str]:
    if url != "embedded":
        yield url
        return
    server = Embedded(kind, settings.embedded_folder)
    try:
        yield server.url
    finally:
        server.release()


@contextlib.contextmanager
def urls(settings: Settings) -> Iterator[tuple[str, str]]:
    """Where PostgreSQL and Redis are. Raises EmbeddedError."""
    with postgres_url(settings) as postgres, redis_url(settings) as redis:
        yield postgres, redis


@contextlib.contextmanager
def servers(
    settings: Settings,
    stopping: threading.Event,
    *,
    name: str,
    connections: int,
    wait: bool = True,
) -> Iterator[Doorbell]:
    """Point this process at PostgreSQL, of which it holds up to `connections`, and at Redis.

    A PostgreSQL of one's own that can't be reached is waited for, until `stopping`, and so is the
    migration of its tables; without `wait`, that is done in the background. `name` is what the
    process is called there. Raises EmbeddedError, and SchemaError, the latter after `stopping` was
    set, if it comes late.
    """
    with contextlib.suppress(OSError):
        tempfile.gettempdir()  # remembered; if the disk fills later, that is what errors say
    with contextlib.ExitStack() as stack:
        database_url, redis_url = stack.enter_context(urls(settings))
        database.init(database_url, connections=connections, name=name)
        stack.callback(database.disconnect)
        doorbell = Doorbell(redis_url, settings.redis.queue_key)
        stack.callback(doorbell.close)
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
    """Brings the tables up to date, as soon as PostgreSQL can be reached."""

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
        """Raise the SchemaError that ended it, if one did."""
        if self._failure is not None:
            raise self._failure
