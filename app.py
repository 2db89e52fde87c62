"""The web process: `python app.py`.

It serves the pages and the API, takes uploads, and streams the progress of batches as Server-Sent
Events. worker.py processes the emails.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading

import bottle

from batches.as_json import json_text
from postgres.schema import SchemaError
from relay.doorbell import Doorbell
from relay.hub import Hub
from runtime import command, logs, memory, systemd
from runtime.command import exit_with, load_or_exit
from runtime.settings import Settings, SettingsError
from servers import connect
from servers.confinement import BundledServerError
from web import openapi, problems
from web.access import users
from web.access.sign_in import Access
from web.again import Again
from web.batch_changes import BatchChanges
from web.batches import Batches
from web.hooks import Hooks
from web.offered import Offered
from web.pages import Pages
from web.server.headers import WsgiApp, with_headers
from web.server.request_log import with_request_log
from web.server.server import HttpServer
from web.services import Services
from web.uploads import Uploads

logger = logs.Logger("app")


def routes(services: Services) -> bottle.Bottle:
    """Return the Bottle application with all handlers by method and address."""
    offered = Offered.of(services.settings)
    batches, uploads, health = (
        Batches(services, offered),
        Uploads(services, offered),
        services.health,
    )
    changes = BatchChanges(services, batches)
    again = Again(services.settings, batches, uploads, offered)
    by_password = services.access.by_password
    pages = Pages(services.settings, batches, changes, uploads, again, health, offered)
    batch = "/api/batches/<batch_id:int>"
    page = "/batches/<batch_id:int>"
    table = [
        ("GET", "/api/health", health.health),
        ("GET", "/api/openapi.json", lambda: openapi.document(by_password=by_password)),
        ("GET", "/metrics", health.metrics),
        ("POST", "/api/preview", uploads.preview),
        ("POST", "/api/upload", uploads.upload),
        ("GET", "/api/batches", batches.batches),
        ("GET", "/api/batches/stream", batches.stream_all),
        ("GET", batch, batches.batch),
        ("GET", f"{batch}/stream", batches.stream),
        ("GET", f"{batch}/emails", batches.emails),
        ("GET", f"{batch}/rows", batches.rows),
        ("GET", f"{batch}/typos", batches.typos),
        ("GET", f"{batch}/results.csv", batches.results_csv),
        ("GET", f"{batch}/results.xlsx", batches.results_xlsx),
        ("GET", f"{batch}/results.jsonl", batches.results_jsonl),
        ("POST", f"{batch}/retry", changes.retry),
        ("POST", f"{batch}/again", again.again),
        ("POST", f"{batch}/pause", changes.pause),
        ("POST", f"{batch}/resume", changes.resume),
        ("POST", f"{batch}/rate", changes.rate),
        ("POST", f"{batch}/finish", changes.finish),
        ("POST", f"{batch}/cancel", changes.cancel),
        ("DELETE", batch, changes.delete),
        ("GET", "/", pages.home),
        ("GET", page, pages.batch),
        ("POST", "/upload", pages.upload),
        ("POST", f"{page}/retry", pages.retry),
        ("POST", f"{page}/again", pages.again),
        ("POST", f"{page}/pause", pages.then_batch(changes.pause)),
        ("POST", f"{page}/resume", pages.then_batch(changes.resume)),
        ("POST", f"{page}/rate", pages.then_batch(changes.rate)),
        ("POST", f"{page}/finish", pages.then_batch(changes.finish)),
        ("POST", f"{page}/cancel", pages.then_batch(changes.cancel)),
        ("POST", f"{page}/delete", pages.delete),
        ("GET", "/static/<version>/progress/<percent:int>.svg", pages.icon),
        ("GET", "/static/<version>/<path:path>", pages.static),
    ]
    hooks = Hooks(services)
    app = bottle.Bottle()
    app.add_hook("before_request", hooks.admit)
    app.uninstall(bottle.JSONPlugin)
    app.install(bottle.JSONPlugin(json_text))
    app.install(hooks.answer_problems)
    app.default_error_handler = lambda error: problems.render(error, **pages.layout())
    for method, address, handler in table:
        app.route(address, method, handler)
    return app


def wsgi(services: Services) -> WsgiApp:
    """Return the WSGI application: the handlers, with headers and the request log around them."""
    served = with_headers(routes(services), services.settings.server.cors_origins)
    return with_request_log(served, services.access.is_proxy)


def main() -> int:
    """The command. Exit status 0 after a clean stop, 2 for wrong settings."""
    command.keep_imports()
    parser = command.argument_parser(
        "Serve the page and its API: uploads, batches, live progress.",
        "Stop it with Ctrl-C or SIGTERM: requests under way are answered first. worker.py\n"
        "processes the uploads; without a worker, they are accepted and wait.",
    )
    parser.add_argument("--host", metavar="H", help="address, instead of [server] host")
    parser.add_argument("--port", metavar="N", help="port, instead of [server] port")
    parser.add_argument(
        "--add-user",
        metavar="NAME",
        help="ask for a password, and add this user, or change the user's password",
    )
    arguments = parser.parse_args()
    memory.keep_small()
    changes = {("server", "host"): arguments.host, ("server", "port"): arguments.port}
    settings = load_or_exit(arguments, changes)
    if arguments.add_user is not None:
        return users.add_by_command(settings.users_path, arguments.add_user)
    logs.setup()
    stopping = command.stop_on_signals()
    connections = settings.server.connections
    try:
        access = Access(settings)
        with connect.servers(
            settings, stopping, name="app", connections=connections, wait=False
        ) as doorbell:
            if not stopping.is_set():
                serve(settings, access, doorbell, stopping)
    except SettingsError as error:
        exit_with(str(error))
    except (BundledServerError, SchemaError) as error:
        exit_with(f"{error}.")
    return 0


def serve(
    settings: Settings, access: Access, doorbell: Doorbell, stopping: threading.Event
) -> None:
    """Serve until `stopping` is set. Raises SettingsError."""
    hub = Hub(doorbell, settings.redis.channel_prefix)
    services = Services(settings, access, doorbell, hub, stopping)
    try:
        server = HttpServer(wsgi(services), settings, access.may_send)
    except OSError as error:
        place = f"{settings.server.host}, port {settings.server.port}"
        exit_with(
            f"Can't listen on {place}: {error.strerror}. Is app.py running already? Choose another"
            " address by [server] host and port, PORT, --host or --port."
        )
    hub.start()
    logger.info("serving", url=server.url, pid=os.getpid())
    systemd.ready(f"serving {server.url}")
    if not systemd.is_service():  # somebody watches the start
        with contextlib.suppress(OSError):  # the output can't be written, which harms nobody
            print(f"Open {server.local_url}", flush=True)
    server.serve(stopping)
    hub.stop()
    logger.info("stopped")


if __name__ == "__main__":
    sys.exit(main())
