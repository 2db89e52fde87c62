"""The web application: `python app.py`.

It serves the page, takes uploads, answers for batches, and streams their progress as Server-Sent
Events. It processes nothing itself: that is worker.py's.
"""

from __future__ import annotations

import errno
import hashlib
import logging
import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from functools import wraps
from pathlib import Path
from typing import Any

import bottle
from bottle import request, response

import bootstrap
import database
import health
import logs
import models
import problems
import progress
import queries
import receiving
from batches import PAGE, Batches
from batchqueue import BatchQueue
from database import Session
from doorbell import Doorbell
from embedded import EmbeddedError
from headers import with_headers
from health import Health
from models import Snapshot
from problems import RETRY_AFTER, Problem
from progress import Hub
from serving import HttpServer, WsgiApp, share_heap
from settings import VERSION, Settings, exit_with, load_or_exit
from streams import Streams
from wire import batch_format_json, batch_json, number_from_query, rows_json

HERE = Path(__file__).resolve().parent
STATIC = HERE / "static"

# What a write says that finds no room: on the disk, in a quota, by a limit of the process.
DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)

logger = logging.getLogger("app")
bottle.TEMPLATE_PATH[:] = [str(HERE / "views")]


def static_version() -> str:
    """A digest of all files under static/, for a path that can be cached for ever."""
    digest = hashlib.sha256()
    for path in sorted(STATIC.rglob("*")):
        if path.is_file():
            digest.update(path.relative_to(STATIC).as_posix().encode() + path.read_bytes())
    return digest.hexdigest()[:12]


def _disk_full(error: BaseException) -> Problem:
    logger.error(logs.line("the disk is full", error=error))
    return Problem(507, "insufficient_storage", problems.DETAILS[507])


class Application:
    """The routes. One object serves all request threads."""

    def __init__(
        self, settings: Settings, doorbell: Doorbell, hub: Hub, stopping: threading.Event
    ) -> None:
        self._settings = settings
        self._doorbell = doorbell
        self._queue = BatchQueue(doorbell.client, settings.redis.queue_key)
        streams = Streams(hub, settings.server.max_streams, stopping)
        self._batches = Batches(streams, self._database, self._announce)
        self._postgres = logs.Outage("postgres", logger, settle=1.0)
        self._health = Health(doorbell, settings.redis.queue_key, self._postgres)
        self._static_version = static_version()

    def wsgi(self) -> WsgiApp:
        """The WSGI application."""
        routes = bottle.Bottle()
        routes.install(self._answer_problems)
        routes.default_error_handler = lambda error: problems.render(error, **self._layout())
        routes.get("/", callback=self.page)
        routes.get("/api/health", callback=self.health)
        routes.post("/api/upload", callback=self.upload)
        routes.post("/api/preview", callback=self.preview)
        self._batches.add_routes(routes)
        routes.get("/static/<version>/<path:path>", callback=self.static)
        return with_headers(routes, self._settings.server.cors_origins)

    def _answer_problems(self, callback: Callable[..., Any]) -> Callable[..., Any]:
        """A Bottle plugin: what a route raises becomes a Problem, and is logged."""

        @wraps(callback)
        def answer(*args: Any, **kwargs: Any) -> Any:
            try:
                return callback(*args, **kwargs)
            except bottle.HTTPResponse:
                raise
            except database.UNREACHABLE as error:
                if database.is_full(error):
                    raise _disk_full(error) from error
                self._postgres.begin(error)
                raise Problem(
                    503,
                    "database_unreachable",
                    "The database can't be reached. Please try again soon.",
                    headers={"Retry-After": RETRY_AFTER},
                ) from error
            except Exception as error:
                if isinstance(error, OSError) and error.errno in DISK_FULL:
                    raise _disk_full(error) from error
                logger.exception(logs.line("request failed", path=request.path))
                raise Problem(500, "internal_error", problems.DETAILS[500]) from error

        return answer

    @contextmanager
    def _database(self, seconds: float = database.SESSION_SECONDS) -> Iterator[Session]:
        with database.session(seconds) as current:
            yield current
        self._postgres.end()

    # Pages.

    def _layout(self) -> dict[str, Any]:
        return {"static": f"/static/{self._static_version}", "version": VERSION}

    def page(self) -> str:
        """GET /: the upload form, one batch's status (?batch=ID), recent batches."""
        batch_id = number_from_query("batch", None, models.MAX_ID)
        with self._database():
            recent = queries.recent_batches(PAGE)
            batch = queries.find_batch(batch_id) if batch_id else (recent[0] if recent else None)
        if batch_id and batch is None:
            raise Problem(404, "batch_not_found", f"There is no batch {batch_id}.")
        response.set_header("Cache-Control", "no-store")
        report = self._health.report()
        body: str = bottle.template(
            "index",
            batch=batch and batch_json(batch),
            batches=[batch_json(each) for each in recent],
            health=report,
            strip=health.strip(report),
            max_megabytes=self._settings.upload.max_megabytes,
            **self._layout(),
        )
        return body

    def static(self, version: str, path: str) -> bottle.HTTPResponse:
        """GET /static/VERSION/PATH: a file that may be cached for ever."""
        if version != self._static_version:
            raise bottle.HTTPError(404)
        file = bottle.static_file(path, root=str(STATIC))
        if file.status_code == 200:
            file.set_header("Cache-Control", "public, max-age=31536000, immutable")
        return file

    # The API.

    def health(self) -> dict[str, Any]:
        """GET /api/health: 503 when the database is out of reach."""
        report = self._health.report()
        if report["database"] != "ok":
            response.status = 503
            response.set_header("Retry-After", RETRY_AFTER)
        response.set_header("Cache-Control", "no-store")
        return report

    def upload(self) -> dict[str, Any]:
        """POST /api/upload: multipart, field `file`; the batch is stored whole, or not at all."""
        with closing(receiving.Form()) as form:
            batch = receiving.store(form, self._settings)
        self._postgres.end()
        logger.info(
            logs.line("stored", batch=batch.id, emails=batch.total_emails, rows=batch.total_rows)
        )
        live = self._announce(models.snapshot_of(batch))
        response.status = 201
        response.set_header("Location", f"/api/batches/{batch.id}")
        return {
            "batchId": batch.id,
            "filename": batch.filename,
            "totalEmails": batch.total_emails,
            "status": batch.status,
            "rows": rows_json(batch),
            "format": batch_format_json(batch),
            "liveUpdates": live,
        }

    def preview(self) -> dict[str, Any]:
        """POST /api/preview: what an upload of this file would be read as; nothing is stored."""
        with closing(receiving.Form()) as form:
            return receiving.preview(form, self._settings)

    def _announce(self, snapshot: Snapshot) -> bool:
        """Ring for the new batch and publish it; False without Redis: the workers look for it."""
        prefix = self._settings.redis.channel_prefix
        self._doorbell.use(lambda: self._queue.enqueue(snapshot.batch_id))
        self._doorbell.use(lambda: progress.publish(self._doorbell.client, prefix, snapshot))
        return not self._doorbell.away


def main() -> int:
    """The command. Exit status 0 after a clean stop, 2 for wrong settings."""
    parser = bootstrap.argument_parser(
        "Serve the page and its API: uploads, batches, live progress.",
        "Stop it with Ctrl-C or SIGTERM: requests under way are answered first. Processing is\n"
        "worker.py's; without a worker, uploads are accepted and wait.",
    )
    parser.add_argument("--host", metavar="H", help="address, instead of [server] host")
    parser.add_argument("--port", metavar="N", help="port, instead of [server] port")
    arguments = parser.parse_args()
    share_heap()
    settings = load_or_exit(
        arguments, {("server", "host"): arguments.host, ("server", "port"): arguments.port}
    )
    logs.setup()
    stopping = bootstrap.stop_on_signals()
    # The request threads, the hub, and streams that are just being opened.
    connections = settings.server.request_threads + 4
    try:
        with bootstrap.servers(settings, stopping, connections=connections, wait=False) as doorbell:
            if not stopping.is_set():
                serve(settings, doorbell, stopping)
    except EmbeddedError as error:
        exit_with(f"{error}.")
    return 0


def serve(settings: Settings, doorbell: Doorbell, stopping: threading.Event) -> None:
    """Serve until `stopping`."""
    hub = Hub(doorbell, settings.redis.channel_prefix)
    application = Application(settings, doorbell, hub, stopping)
    try:
        server = HttpServer(application.wsgi(), settings)
    except OSError as error:
        place = f"{settings.server.host}, port {settings.server.port}"
        exit_with(
            f"Can't listen on {place}: {error.strerror}. Is app.py running already? Choose another"
            " address by [server] host and port, PORT, --host or --port."
        )
    hub.start()
    logger.info(logs.line("serving", url=server.url, pid=os.getpid()))
    server.serve(stopping)
    hub.stop()
    logger.info("stopped")


if __name__ == "__main__":
    sys.exit(main())
