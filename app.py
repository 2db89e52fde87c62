"""The web application: `python app.py`.

It serves the page, takes uploads, answers for batches, and streams their progress as Server-Sent
Events. It processes nothing itself: that is worker.py's.
"""

from __future__ import annotations

import hashlib
import logging
import os
import re
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from datetime import UTC, datetime
from functools import wraps
from pathlib import Path
from typing import Any

import bottle
import redis
from bottle import request, response

import bootstrap
import intake
import logs
import models
import presence
import problems
import progress
from batchqueue import BatchQueue
from embedded import EmbeddedError
from intake import IntakeError
from models import Batch, Snapshot
from problems import Problem
from progress import Hub, Mailbox
from serving import HttpServer, WsgiApp
from settings import VERSION, Settings, exit_with, load_or_exit

HERE = Path(__file__).resolve().parent
STATIC = HERE / "static"

# Seconds: a comment line at least this often shows proxies and browsers that a stream lives; a
# stream looks this often whether it should end; a browser waits this long before it reconnects.
HEARTBEAT_SECONDS = 15.0
STREAM_WAIT_SECONDS = 1.0
STREAM_RETRY_SECONDS = 2.0
# Seconds after which a client is asked to try again what was refused for now.
RETRY_AFTER = "5"
# Batches in one answer, at most and by default.
MAX_PAGE = 100
PAGE = 20
# PostgreSQL's largest bigint; no id is beyond it.
MAX_ID = 2**63 - 1

SECURITY_HEADERS = [
    (
        "Content-Security-Policy",
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
        "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    ),
    ("X-Content-Type-Options", "nosniff"),
    ("Referrer-Policy", "same-origin"),
]

logger = logging.getLogger("app")
bottle.TEMPLATE_PATH[:] = [str(HERE / "views")]


def static_version() -> str:
    """A digest of all files under static/, for a path that can be cached for ever."""
    digest = hashlib.sha256()
    for path in sorted(STATIC.rglob("*")):
        if path.is_file():
            digest.update(path.relative_to(STATIC).as_posix().encode() + path.read_bytes())
    return digest.hexdigest()[:12]


def batch_json(batch: Batch) -> dict[str, Any]:
    """A batch as the API shows it. Times are ISO 8601 in UTC, or null."""

    def iso(value: datetime | None) -> str | None:
        if value is None:
            return None
        return value.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")

    return {
        "id": batch.id,
        "filename": batch.filename,
        "totalEmails": batch.total_emails,
        "processedCount": batch.processed_count,
        "failedCount": batch.failed_count,
        "status": batch.status,
        "revision": batch.revision,
        "error": batch.error,
        "rows": {
            "total": batch.total_rows,
            "emails": batch.total_emails,
            "duplicates": batch.duplicate_rows,
            "blank": batch.blank_rows,
            "withoutAddress": batch.rows_without_address,
        },
        "createdAt": iso(batch.created_at),
        "startedAt": iso(batch.started_at),
        "completedAt": iso(batch.completed_at),
    }


def clean_filename(name: str) -> str:
    """The file's own name, without a path or control characters, 200 characters at most."""
    name = re.split(r"[/\\]", name)[-1]
    name = "".join(c if c.isprintable() else " " for c in name)
    return name.strip()[:200] or "unnamed.csv"


def number_from_query(name: str, default: int | None, most: int) -> int | None:
    """A positive whole number from the query string. Raises Problem for anything else."""
    text = request.query.get(name)
    if text is None:
        return default
    if not re.fullmatch(r"[0-9]{1,19}", text) or not 1 <= int(text) <= most:
        raise Problem(
            400, "bad_parameter", f"{name} must be a whole number from 1 to {most}.", parameter=name
        )
    return int(text)


class Application:
    """The routes. One object serves all request threads."""

    def __init__(
        self, settings: Settings, client: redis.Redis, hub: Hub, stopping: threading.Event
    ) -> None:
        self._settings = settings
        self._client = client
        self._queue = BatchQueue(client, settings.redis.queue_key)
        self._hub = hub
        self._stopping = stopping
        self._redis = logs.Outage("redis", logger)
        self._slots = threading.BoundedSemaphore(settings.server.max_streams)
        self._static_version = static_version()

    def wsgi(self) -> WsgiApp:
        """The WSGI application."""
        routes = bottle.Bottle()
        routes.install(_answer_problems)
        routes.default_error_handler = lambda error: problems.render(error, **self._layout())
        routes.get("/", callback=self.page)
        routes.get("/api/health", callback=self.health)
        routes.post("/api/upload", callback=self.upload)
        routes.get("/api/batches", callback=self.batches)
        routes.get("/api/batches/<batch_id:int>", callback=self.batch)
        routes.get("/api/batches/<batch_id:int>/stream", callback=self.stream)
        routes.get("/static/<version>/<path:path>", callback=self.static)
        return _with_headers(routes, self._settings.server.cors_origins)

    # Pages.

    def _layout(self) -> dict[str, Any]:
        return {"static": f"/static/{self._static_version}", "version": VERSION}

    def page(self) -> str:
        """GET /: the upload form, one batch's status (?batch=ID), recent batches."""
        batch_id = number_from_query("batch", None, MAX_ID)
        with models.database.connection_context():
            recent = models.recent_batches(PAGE)
            batch = models.find_batch(batch_id) if batch_id else (recent[0] if recent else None)
        if batch_id and batch is None:
            raise Problem(404, "batch_not_found", f"There is no batch {batch_id}.")
        response.set_header("Cache-Control", "no-store")
        body: str = bottle.template(
            "index",
            batch=batch and batch_json(batch),
            batches=[batch_json(each) for each in recent],
            notice=self._health()["notice"],
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
        health = self._health()
        if health["database"] != "ok":
            response.status = 503
            response.set_header("Retry-After", RETRY_AFTER)
        response.set_header("Cache-Control", "no-store")
        return health

    def _health(self) -> dict[str, Any]:
        database, workers, depth = "ok", None, None
        try:
            with models.database.connection_context():
                models.check_connection()
        except models.UNREACHABLE as error:
            logger.debug(logs.line("health", database=error))
            database = "unreachable"
        try:
            workers = presence.workers(self._client, self._settings.redis.queue_key)
            depth = self._queue.depth()
            self._redis.end()
        except redis.RedisError as error:
            self._redis.begin(error)
        redis_state = "unreachable" if workers is None else "ok"
        return {
            "status": "ok" if (database, redis_state) == ("ok", "ok") else "degraded",
            "database": database,
            "redis": redis_state,
            "workersAlive": None if workers is None else len(workers),
            "workers": workers,
            "queueDepth": depth,
            "version": VERSION,
            "notice": _notice(database, workers),
        }

    def upload(self) -> dict[str, Any]:
        """POST /api/upload: multipart, field `file`; the batch is stored whole, or not at all."""
        with closing(request.body):  # a temporary file, as the form's file is another
            file = request.files.get("file")
        if file is None:
            raise Problem(
                400,
                "no_file",
                "The form has no file. Send the CSV as multipart/form-data in the field 'file'.",
            )
        filename = clean_filename(file.raw_filename)
        limits = self._settings.upload
        if file.file.seek(0, os.SEEK_END) > limits.max_megabytes * 1_000_000:
            raise Problem(413, "content_too_large", _too_large(limits.max_megabytes))
        file.file.seek(0)
        try:
            with models.database.connection_context():
                snapshot, rows = intake.store(
                    file.file,
                    filename,
                    chunk_size=self._settings.worker.chunk_size,
                    max_rows=limits.max_rows,
                )
        except IntakeError as error:
            raise Problem(error.status, error.code, str(error), line=error.line) from error
        finally:
            file.file.close()
        logger.info(
            logs.line("batch stored", batch=snapshot.batch_id, emails=rows.emails, rows=rows.total)
        )
        live = self._announce(snapshot)
        response.status = 201
        response.set_header("Location", f"/api/batches/{snapshot.batch_id}")
        return {
            "batchId": snapshot.batch_id,
            "filename": filename,
            "totalEmails": snapshot.total,
            "status": snapshot.status,
            "rows": {
                "total": rows.total,
                "emails": rows.emails,
                "duplicates": rows.duplicates,
                "blank": rows.blank,
                "withoutAddress": rows.without_address,
            },
            "liveUpdates": live,
        }

    def _announce(self, snapshot: Snapshot) -> bool:
        """Ring for the new batch and publish it; False without Redis, when the sweep will."""
        try:
            self._queue.enqueue(snapshot.batch_id)
            progress.publish(self._client, self._settings.redis.channel_prefix, snapshot)
        except redis.RedisError as error:
            self._redis.begin(error)
            return False
        self._redis.end()
        return True

    def batches(self) -> dict[str, Any]:
        """GET /api/batches: newest first; `next` is the `before` of the next page, or null."""
        limit = number_from_query("limit", PAGE, MAX_PAGE) or PAGE
        before = number_from_query("before", None, MAX_ID)
        with models.database.connection_context():
            found = models.recent_batches(limit + 1, before)
        response.set_header("Cache-Control", "no-store")
        return {
            "batches": [batch_json(batch) for batch in found[:limit]],
            "next": found[limit - 1].id if len(found) > limit else None,
        }

    def batch(self, batch_id: int) -> dict[str, Any]:
        """GET /api/batches/{id}."""
        response.set_header("Cache-Control", "no-store")
        return batch_json(self._find(batch_id))

    def _find(self, batch_id: int) -> Batch:
        batch = None
        if 1 <= batch_id <= MAX_ID:
            with models.database.connection_context():
                batch = models.find_batch(batch_id)
        if batch is None:
            raise Problem(404, "batch_not_found", f"There is no batch {batch_id}.")
        return batch

    # The stream.

    def stream(self, batch_id: int) -> Iterator[bytes]:
        """GET /api/batches/{id}/stream: a snapshot at once, then every change, until the end."""
        if not self._slots.acquire(blocking=False):
            raise Problem(
                503,
                "no_stream_slot",
                "All live streams are in use. Ask for the batch's state now and then instead.",
                headers={"Retry-After": RETRY_AFTER},
            )
        mailbox = self._hub.watch(batch_id)
        try:
            # Watching already: nothing that changes after this reading is missed.
            batch = self._find(batch_id)
            if batch.status in models.TERMINAL and _last_event_id() >= batch.revision:
                raise bottle.HTTPResponse(status=204)  # an EventSource then stays away
        except BaseException:
            self._leave(mailbox)
            raise
        mailbox.put(models.snapshot_of(batch))
        response.content_type = "text/event-stream; charset=utf-8"
        response.set_header("Cache-Control", "no-store")
        response.set_header("X-Accel-Buffering", "no")  # nginx would hold events back
        return self._events(mailbox, request.environ["waitress.client_disconnected"])

    def _leave(self, mailbox: Mailbox) -> None:
        self._hub.unwatch(mailbox)
        self._slots.release()

    def _events(self, mailbox: Mailbox, disconnected: Callable[[], bool]) -> Iterator[bytes]:
        # Bottle takes the first piece at once, so that `finally` is sure to be reached.
        try:
            yield f"retry: {STREAM_RETRY_SECONDS * 1000:.0f}\n\n".encode()
            quiet_since = time.monotonic()
            while not self._stopping.is_set() and not disconnected():
                snapshot = mailbox.take(STREAM_WAIT_SECONDS)
                if snapshot is not None:
                    event = f"id: {snapshot.revision}\ndata: {progress.message(snapshot)}\n\n"
                    yield event.encode()
                    quiet_since = time.monotonic()
                    if snapshot.terminal:
                        return
                elif time.monotonic() - quiet_since >= HEARTBEAT_SECONDS:
                    yield b": heartbeat\n\n"
                    quiet_since = time.monotonic()
        finally:
            self._leave(mailbox)


def _last_event_id() -> int:
    value = request.get_header("Last-Event-ID", "")
    return int(value) if re.fullmatch(r"[0-9]{1,19}", value) else 0


def _too_large(megabytes: int) -> str:
    return f"The file is larger than {megabytes:,} MB. Split it into smaller ones."


def _notice(database: str, workers: list[Any] | None) -> str | None:
    """Why nothing moves, or moves unseen, in a sentence that says what to do; or None."""
    if database != "ok":
        return "The database can't be reached. Nothing is processed until it is back."
    if workers is None:
        return "Redis can't be reached. Uploads are processed, but updates arrive late."
    if not workers:
        return "No worker is running, so batches wait. Start one: python worker.py --threads 4"
    return None


def _answer_problems(callback: Callable[..., Any]) -> Callable[..., Any]:
    """A Bottle plugin: what a route raises becomes a Problem, and is logged."""

    @wraps(callback)
    def answer(*args: Any, **kwargs: Any) -> Any:
        try:
            return callback(*args, **kwargs)
        except bottle.HTTPResponse:
            raise
        except models.UNREACHABLE as error:
            logger.error(logs.line("request failed", path=request.path, database=error))
            raise Problem(
                503,
                "database_unreachable",
                "The database can't be reached. Nothing was stored; please try again soon.",
                headers={"Retry-After": RETRY_AFTER},
            ) from error
        except Exception as error:
            logger.exception(logs.line("request failed", path=request.path))
            raise Problem(500, "internal_error", problems.DETAILS[500]) from error

    return answer


def _with_headers(app: WsgiApp, origins: tuple[str, ...]) -> WsgiApp:
    """Add the security headers to every response, and those that let `origins` call the API."""

    def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        headers = list(SECURITY_HEADERS)
        if environ["PATH_INFO"].startswith("/api/"):
            headers.append(("Vary", "Origin"))
            if environ.get("HTTP_ORIGIN") in origins:
                headers += [
                    ("Access-Control-Allow-Origin", environ["HTTP_ORIGIN"]),
                    ("Access-Control-Expose-Headers", "Location, Retry-After"),
                ]
                if "HTTP_ACCESS_CONTROL_REQUEST_METHOD" in environ:
                    headers += [
                        ("Access-Control-Allow-Methods", "GET, POST"),
                        ("Access-Control-Allow-Headers", "Content-Type, Last-Event-ID"),
                        ("Access-Control-Max-Age", "600"),
                    ]
                    if environ["REQUEST_METHOD"] == "OPTIONS":
                        start_response("204 No Content", headers)
                        return []

        def start(status: str, given: list[tuple[str, str]], exc_info: Any = None) -> Any:
            return start_response(status, given + headers, exc_info)

        return app(environ, start)

    return application


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
    settings = load_or_exit(
        arguments, {("server", "host"): arguments.host, ("server", "port"): arguments.port}
    )
    logs.setup()
    stopping = bootstrap.stop_on_signals()
    # The request threads, the hub, and streams that are just being opened.
    connections = settings.server.request_threads + 4
    try:
        with bootstrap.servers(settings, stopping, connections=connections) as client:
            if not stopping.is_set():
                serve(settings, client, stopping)
    except EmbeddedError as error:
        exit_with(f"{error}.")
    return 0


def serve(settings: Settings, client: redis.Redis, stopping: threading.Event) -> None:
    """Serve until `stopping`."""
    hub = Hub(client, settings.redis.channel_prefix)
    application = Application(settings, client, hub, stopping)
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
