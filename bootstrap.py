"""What app.py and worker.py do alike before their own work: stop on signals, reach the servers."""

from __future__ import annotations

import argparse
import contextlib
import logging
import os
import signal
import threading
from collections.abc import Iterator

import redis

import batchqueue
import logs
import models
from embedded import Embedded
from settings import DEFAULT_PATH, VERSION, Settings

# Seconds between two attempts to reach a PostgreSQL that isn't there yet.
RETRY_SECONDS = 1.0

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

    def stop(signum: int, _frame: object) -> None:
        if stopping.is_set():
            os._exit(128 + signum)
        stopping.set()

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    return stopping


@contextlib.contextmanager
def servers(
    settings: Settings, stopping: threading.Event, *, connections: int
) -> Iterator[redis.Redis]:
    """Reach PostgreSQL, with the tables made, and yield a client of Redis.

    Bundled servers are started, and stopped afterwards if nobody else uses them. A PostgreSQL of
    one's own that can't be reached is waited for, until `stopping`. Raises EmbeddedError.
    """
    with contextlib.ExitStack() as stack:

        def resolve(kind: str, url: str) -> str:
            if url != "embedded":
                return url
            server = Embedded(kind, settings.embedded_folder)
            stack.callback(server.release)
            return server.url

        database_url = resolve("postgres", settings.database.url)
        client = batchqueue.connect(resolve("redis", settings.redis.url))
        stack.callback(client.close)
        stack.callback(models.disconnect)
        _connect_database(database_url, stopping, connections)
        yield client


def _connect_database(url: str, stopping: threading.Event, connections: int) -> None:
    outage = logs.Outage("postgres", logger)
    while not stopping.is_set():
        try:
            models.connect(url, connections=connections)
        except models.UNREACHABLE as error:
            outage.begin(error)
            stopping.wait(RETRY_SECONDS)
        else:
            outage.end()
            return
