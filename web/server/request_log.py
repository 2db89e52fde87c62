"""The request log: one line for each request, with the id that its response has as X-Request-Id."""

from __future__ import annotations

import random
import re
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from typing import Any

from runtime import logs, metrics
from web.server.headers import WsgiApp

HEADER = "X-Request-Id"
# An id that a proxy may give.
_ID = re.compile(r"[\w.-]{8,64}", re.ASCII)
# The most characters of a path that are logged.
_MAX_PATH = 200

logger = logs.Logger("request")


def new_id() -> str:
    """Return an id for a request that has none."""
    # An id is no secret, so Python's own generator is good enough. To ask the system for random
    # bytes would take as long as to write a log line.
    return f"{random.getrandbits(128):032x}"


def log(method: str, path: str, status: int, begun: float, user: str, client: str) -> None:
    """Log a request that ends now and began at the monotonic time `begun`."""
    logger.info(
        "request",
        method=method,
        # Without the query string, which has searches, and without email addresses.
        path=logs.without_addresses(path)[:_MAX_PATH],
        status=status,
        seconds=f"{time.monotonic() - begun:.4f}",
        user=user,
        client=client,
    )


class _Answer(ExitStack):
    """The pieces of a response. waitress calls close() at its end, even if it was cut short."""

    def __init__(self, pieces: Iterable[bytes], end: Callable[[], None]) -> None:
        super().__init__()
        self._pieces = pieces
        self.callback(end)
        if hasattr(pieces, "close"):
            self.callback(pieces.close)

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._pieces)


def with_request_log(app: WsgiApp, trusted: Callable[[str], bool]) -> WsgiApp:
    """Log each request when its response has ended or was cut short.

    The request's id is its X-Request-Id if the sender's address is `trusted`, or else a new one.
    The response and all lines logged for the request have this id.
    """

    def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        # Another WSGI server doesn't say when the request arrived.
        begun, status = environ.setdefault("app.received_at", time.monotonic()), 500
        remote = environ.get("REMOTE_ADDR", "")
        request_id = environ.get("HTTP_X_REQUEST_ID", "")
        if not (_ID.fullmatch(request_id) and trusted(remote)):
            request_id = new_id()
        method, path = environ["REQUEST_METHOD"], environ["PATH_INFO"]
        logs.REQUEST.set(request_id)

        def start(line: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Any:
            nonlocal status
            status = int(line[:3])
            return start_response(line, [*headers, (HEADER, request_id)], exc_info)

        def end() -> None:
            user, client = environ.get("REMOTE_USER", "-"), environ.get("app.client", remote)
            log(method, path, status, begun, user, client)
            logs.REQUEST.set("")

        try:
            pieces = app(environ, start)
        except BaseException:
            end()
            raise
        route = getattr(environ.get("bottle.route"), "rule", "")
        metrics.REQUESTS.labels(method_label(method), route, f"{status // 100}xx").observe(
            time.monotonic() - begun
        )
        return _Answer(pieces, end)

    return application


def method_label(method: str) -> str:
    """Return the method as a metric's label; `other` for one that a client made up."""
    return method if method in ("GET", "HEAD", "POST", "DELETE", "OPTIONS") else "other"
