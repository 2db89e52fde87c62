"""The web application: `python app.py`.

It serves the page, takes uploads, answers for batches, and streams their progress as Server-Sent
Events. It processes nothing itself: that is worker.py's.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from functools import wraps
from typing import Any
from urllib.parse import unquote_to_bytes

import bottle
from bottle import request, response

import models
from batches.as_json import batch_format_json, json_text, rows_json
from models import Snapshot
from postgres import database
from postgres.database import Session
from postgres.schema import SchemaError
from relay import hub as progress
from relay.batch_queue import BatchQueue
from relay.doorbell import Doorbell
from relay.hub import Hub
from runtime import command, logs, metrics, systemd
from runtime.command import exit_with, load_or_exit
from runtime.settings import Settings, SettingsError
from servers import connect
from servers.confinement import BundledServerError
from web import health, openapi, problems, uploads
from web.access import origins, sign_in, users
from web.access.sign_in import Access
from web.access.users import UsersError
from web.batches import Batches
from web.health import Health
from web.pages import Pages
from web.problems import RETRY_AFTER, Problem
from web.server.headers import WsgiApp, with_headers
from web.server.request_log import with_request_log
from web.server.server import HttpServer, keep_memory_small
from web.streams import Slots, Streams

logger = logs.Logger("app")


def _refuse_broken_address(path: str, query: str) -> None:
    """Raises Problem for an address that is not UTF-8.

    Bottle leaves out what isn't, so that it would serve /metrics for a path that a proxy in front,
    which knows whom /metrics is for, takes for another, and all emails for a search for one.
    """
    for code, text in (
        ("bad_path", path.encode("latin-1")),  # WSGI has its bytes as Latin-1
        ("bad_parameter", unquote_to_bytes(query)),
    ):
        try:
            text.decode()
        except UnicodeDecodeError:
            detail = "The address has bytes in it that are not UTF-8."
            raise Problem(400, code, detail) from None


class Application:
    """The routes. One object serves all request threads."""

    def __init__(
        self,
        settings: Settings,
        access: Access,
        doorbell: Doorbell,
        hub: Hub,
        stopping: threading.Event,
    ) -> None:
        self._settings = settings
        self._access = access
        self._doorbell = doorbell
        self._queue = BatchQueue(doorbell.client, settings.redis.queue_key)
        self._hub = hub
        self._postgres = logs.Outage("postgres", logger, settle=1.0)
        self._health = Health(doorbell, settings.redis.queue_key, self._postgres)
        server = settings.server
        slots = Slots(server.max_streams, server.max_streams_per_client)
        streams = Streams(hub, slots, stopping)
        self._batches = Batches(
            streams, self._database, self._announce, self._health.recent, hub.rates
        )
        self._pages = Pages(settings, self._batches, self._health.recent, self.upload)

    def wsgi(self) -> WsgiApp:
        """The WSGI application."""
        served = with_headers(self.routes(), self._settings.server.cors_origins)
        return with_request_log(served, self._access.is_proxy)

    def routes(self) -> bottle.Bottle:
        """All handlers by method and address."""
        routes = bottle.Bottle()
        routes.add_hook("before_request", self._let_in)
        routes.uninstall(bottle.JSONPlugin)
        routes.install(bottle.JSONPlugin(json_text))
        routes.install(self._answer_problems)
        routes.default_error_handler = lambda error: problems.render(error, **self._pages.layout())
        self._pages.add_routes(routes)
        routes.get("/metrics", callback=self.metrics)
        routes.get("/api/health", callback=self.health)
        routes.get("/api/openapi.json", callback=self.openapi)
        routes.post("/api/upload", callback=self.upload)
        routes.post("/api/preview", callback=self.preview)
        self._batches.add_routes(routes)
        return routes

    def _let_in(self) -> None:
        self._access.admit()
        _refuse_broken_address(request.environ["bottle.raw_path"], request.query_string)
        origins.refuse_others(request.environ, self._settings.server.cors_origins)

    def _answer_problems(self, callback: Callable[..., Any]) -> Callable[..., Any]:
        """A Bottle plugin: what a route raises becomes a Problem, and is logged."""

        @wraps(callback)
        def answer(*args: Any, **kwargs: Any) -> Any:
            try:
                return callback(*args, **kwargs)
            except bottle.HTTPResponse:
                raise
            except database.UNREACHABLE as error:
                raise self._unreachable(error) from error
            except Exception as error:
                if problem := problems.of_system(error):
                    raise problem from error
                logger.exception("request failed", path=request.path)
                raise Problem(500, "internal_error", problems.DETAILS[500]) from error

        return answer

    def _unreachable(self, error: BaseException) -> Problem:
        if database.is_full(error):
            return problems.disk_full(error)
        if problem := problems.of_system(error):
            return problem
        if database.is_limit(error):
            logger.error("the database's limit was reached", error=error)
            detail = (
                f"The database server ended this before it was done: {logs.said(error)}. To try"
                " again is no use until who runs the server has raised that limit."
            )
            return Problem(503, "database_timeout", detail)
        self._postgres.begin(error)
        detail = "The database can't be reached. Please try again soon."
        if database.is_read_only(error):
            detail = "The database can only be read just now. Please try again soon."
        headers = {"Retry-After": RETRY_AFTER}
        return Problem(503, "database_unreachable", detail, headers=headers)

    @contextmanager
    def _database(self, seconds: float = database.SESSION_SECONDS) -> Iterator[Session]:
        with database.session(seconds) as current:
            yield current
        self._postgres.end()

    # The API.

    def health(self) -> dict[str, Any]:
        """GET /api/health: 503 when the database is out of reach."""
        report = self._health.report()
        if report["database"] != "ok":
            response.status = 503
            response.set_header("Retry-After", RETRY_AFTER)
        response.set_header("Cache-Control", "no-store")
        return report

    def openapi(self) -> dict[str, Any]:
        """GET /api/openapi.json: what the API offers."""
        return openapi.document(by_password=self._access.by_password)

    def metrics(self) -> bytes:
        """GET /metrics: all that is counted, by app and workers, for Prometheus."""
        survey = self._health.survey()
        processes = {"app": metrics.samples()}
        for worker in survey.roll.alive if survey.roll else ():
            processes[f"{worker.host}:{worker.pid}"] = worker.samples
        response.content_type = metrics.MEDIA_TYPE
        response.set_header("Cache-Control", "no-store")
        slots = metrics.gauge(
            "stream_slots",
            "Streams and downloads that may be open at once.",
            self._settings.server.max_streams,
        )
        return metrics.exposition(processes, [*health.gauges(survey), slots])

    def upload(self) -> dict[str, Any]:
        """POST /api/upload: multipart, field `file`; the batch is stored whole, or not at all."""
        with closing(uploads.Form()) as form:
            batch = uploads.store(form, self._settings, sign_in.user())
        self._postgres.end()
        metrics.UPLOADED.inc(batch.total_emails)
        logger.info(
            "stored",
            batch=batch.id,
            emails=batch.total_emails,
            rows=batch.total_rows,
            **sign_in.doer(),
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
        with closing(uploads.Form()) as form:
            return uploads.preview(form, self._settings)

    def _announce(self, snapshot: Snapshot) -> bool:
        """Ring for the batch and publish it; False without Redis: the workers look for it."""
        prefix = self._settings.redis.channel_prefix
        self._hub.tell([snapshot])
        progress.announce(self._doorbell, self._queue, prefix, snapshot)
        return not self._doorbell.away


def main() -> int:
    """The command. Exit status 0 after a clean stop, 2 for wrong settings."""
    parser = command.argument_parser(
        "Serve the page and its API: uploads, batches, live progress.",
        "Stop it with Ctrl-C or SIGTERM: requests under way are answered first. Processing is\n"
        "worker.py's; without a worker, uploads are accepted and wait.",
    )
    parser.add_argument("--host", metavar="H", help="address, instead of [server] host")
    parser.add_argument("--port", metavar="N", help="port, instead of [server] port")
    parser.add_argument(
        "--add-user",
        metavar="NAME",
        help="ask for a password, and let this user sign in with it from now on; or change it",
    )
    arguments = parser.parse_args()
    keep_memory_small()
    settings = load_or_exit(
        arguments, {("server", "host"): arguments.host, ("server", "port"): arguments.port}
    )
    if arguments.add_user is not None:
        return add_user(settings, arguments.add_user)
    logs.setup()
    try:
        allowed = Access(settings)
    except SettingsError as error:
        exit_with(str(error))
    stopping = command.stop_on_signals()
    try:
        with connect.servers(
            settings, stopping, name="app", connections=settings.server.connections, wait=False
        ) as doorbell:
            if not stopping.is_set():
                serve(settings, allowed, doorbell, stopping)
    except (BundledServerError, SchemaError) as error:
        exit_with(f"{error}.")
    return 0


def add_user(settings: Settings, name: str) -> int:
    """Ask for the user's password, and write the users' file. A server sees it at once."""
    try:
        new = users.add(settings.users_path, name, users.ask_password())
    except UsersError as error:
        exit_with(str(error))
    sys.stdout.write(f"{name} may sign in now.\n" if new else f"{name} has a new password.\n")
    return 0


def serve(
    settings: Settings, allowed: Access, doorbell: Doorbell, stopping: threading.Event
) -> None:
    """Serve until `stopping`."""
    hub = Hub(doorbell, settings.redis.channel_prefix)
    application = Application(settings, allowed, doorbell, hub, stopping)
    try:
        server = HttpServer(application.wsgi(), settings, allowed.may_send)
    except SettingsError as error:
        exit_with(str(error))
    except OSError as error:
        place = f"{settings.server.host}, port {settings.server.port}"
        exit_with(
            f"Can't listen on {place}: {error.strerror}. Is app.py running already? Choose another"
            " address by [server] host and port, PORT, --host or --port."
        )
    hub.start()
    logger.info("serving", url=server.url, pid=os.getpid())
    systemd.ready(f"serving {server.url}")
    server.serve(stopping)
    hub.stop()
    logger.info("stopped")


if __name__ == "__main__":
    sys.exit(main())
