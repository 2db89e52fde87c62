"""The HTTP server: waitress with more threads, limits on connections, and a graceful shutdown."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable
from ipaddress import ip_address
from typing import Any

from waitress.server import TcpWSGIServer

from batches.intake import MOST_LARGE, MOST_WAITING
from runtime import descriptors, logs, systemd
from runtime.every import Every
from runtime.settings import Server, Settings
from web.server import connections
from web.server.connections import Bodies, Channel
from web.server.headers import WsgiApp
from web.server.threads import Dispatcher

# Seconds that requests get to end when the server stops.
DRAIN_SECONDS = 4.0
# The most seconds between two checks whether the server is to stop.
LOOP_SECONDS = 0.5
# Seconds between two checks for requests that arrive too slowly.
LOOK_SECONDS = 1.0
# Connections besides those of streams: idle ones, waiting requests, slow clients.
SPARE_CONNECTIONS = 500
# The least such connections, if there are too few file descriptors for SPARE_CONNECTIONS.
LEAST_SPARE = 50
# Seconds for which no connection is accepted after accepting one failed.
ACCEPT_PAUSE = 0.5
# The most bytes of a response that wait in memory to be sent, apart from its newest piece.
UNSENT = 1 << 20
# The most large files that are stored or wait for that, each on a thread.
MOST_UPLOADS = MOST_LARGE + MOST_WAITING
# Bytes that are received at once. With waitress's 8 kB, receiving 30 MB takes 0.13 s and not 0.03.
RECEIVED = 1 << 17
# The most bytes that the multipart form of an upload may have besides its file.
FORM_OVERHEAD = 1_000_000
# The most bytes of a request's first line and headers together.
MAX_HEADERS = 32_768
# The room for all bodies that are being received, in uploads of the largest size.
LARGEST_UPLOADS = 4

logger = logs.Logger("server")


def _room(server: Server) -> tuple[int, int]:
    """Return the most connections, and the most bodies in files, for which there are descriptors.

    Raises the limit of descriptors if need be, and SettingsError if it can't be high enough.
    """
    most = server.max_streams + SPARE_CONNECTIONS
    others = (
        descriptors.OWN
        + descriptors.CONNECTION * server.connections
        + descriptors.REQUEST * server.request_threads
    )
    # The threads of streams and of large files may also serve requests.
    further = descriptors.REQUEST * (server.max_streams + MOST_UPLOADS)
    limit = descriptors.allow(others + 2 * most + further)
    least = server.max_streams + LEAST_SPARE
    # Each connection may need a second descriptor, for a body in a file.
    most_here = min(most, max((limit - others) // 2, least))
    files = min(most, limit - others - most_here)
    if files < min(LEAST_SPARE, most):
        what = (
            f"[server] max_streams = {server.max_streams} and request_threads ="
            f" {server.request_threads}"
        )
        raise descriptors.too_few(what, others + least + LEAST_SPARE, limit)
    if most_here < most:
        logger.warning(
            "fewer connections for want of file descriptors", limit=limit, most=most_here
        )
    return most_here, files


class HttpServer(TcpWSGIServer):  # type: ignore[misc]
    """waitress on one address, with limits on connections, bodies and time."""

    channel_class = Channel

    def __init__(
        self, application: WsgiApp, settings: Settings, may_send: Callable[[dict[str, str]], bool]
    ) -> None:
        """Listen on the address of the settings.

        `may_send` tells from a request's headers, by names such as `USER_AGENT`, whether the
        request may have a large body. Raises OSError if the server can't listen there, and
        SettingsError if there are too few file descriptors.
        """
        server = settings.server
        largest = settings.upload.max_megabytes * 1_000_000 + FORM_OVERHEAD
        self._most_connections, files = _room(server)
        self._looks = Every(LOOK_SECONDS)
        self._accept_pause = Every(ACCEPT_PAUSE)
        self._make_room = False
        self._failures = logs.RateLimited(logger)
        super().__init__(
            application,
            host=server.host,
            port=server.port,
            dispatcher=Dispatcher(server.request_threads + server.max_streams + MOST_UPLOADS),
            connection_limit=sys.maxsize,  # readable() has a limit instead
            asyncore_use_poll=True,  # select() can't watch more than 1,024 files
            # Lets a stream notice that its client has disconnected.
            channel_request_lookahead=1,
            # A download waits for its client when this much is unsent, long before waitress would
            # put unsent data into a file.
            outbuf_high_watermark=UNSENT,
            outbuf_overflow=4 * UNSENT,
            recv_bytes=RECEIVED,
            max_request_body_size=largest,
            max_request_header_size=MAX_HEADERS,
            # Access decides which proxies' headers to trust.
            clear_untrusted_proxy_headers=False,
            ident=None,
        )
        self.adj.bodies = Bodies(may_send, LARGEST_UPLOADS * largest, files)

    @property
    def url(self) -> str:
        return self._url(self.effective_host)

    @property
    def local_url(self) -> str:
        """The URL for a browser on this machine, also if the server listens on all addresses."""
        on_all = ip_address(self.effective_host).is_unspecified
        loopback = "::1" if ":" in self.effective_host else "127.0.0.1"
        return self._url(loopback if on_all else self.effective_host)

    def _url(self, host: str) -> str:
        return f"http://{f'[{host}]' if ':' in host else host}:{self.effective_port}/"

    def readable(self) -> bool:
        """Return whether to accept connections: not while there are too many, and none is idle."""
        return (
            super().readable()
            and len(self.active_channels) <= self._most_connections
            and not self._accept_pause.left
        )

    def accept(self) -> Any:
        """Accept a connection. After an error, pause: waitress would retry at once, and log it.

        Such an error, as a lack of file descriptors, lasts for some time.
        """
        try:
            return super().accept()
        except OSError as error:
            self._failures.warning("no connection can be accepted", error=error)
            self._accept_pause.restart()
            self._make_room = True
            return None

    def _close_one(self) -> None:
        """Close an idle connection if there are too many.

        Not to be called while events are handled: a new connection could get the file descriptor of
        the closed one, for which an event may be pending.
        """
        if self._make_room or len(self.active_channels) > self._most_connections:
            self._make_room = False
            channel = connections.one_to_close(list(self.active_channels.values()))
            if channel is not None:
                channel.handle_close()

    def serve(self, stopping: threading.Event) -> None:
        """Serve until `stopping` is set; then accept no connection, and finish the requests."""
        while not stopping.is_set():
            systemd.alive()
            self._loop_once()
        systemd.stopping()
        # Closes only the listening socket; threads can still wake the loop by the trigger.
        self.asyncore.dispatcher.close(self)
        deadline = time.monotonic() + DRAIN_SECONDS
        while self._busy() and time.monotonic() < deadline:
            self._loop_once()
        self.task_dispatcher.shutdown(timeout=1)
        self.asyncore.close_all(self._map)

    def _loop_once(self) -> None:
        self._close_one()
        self.asyncore.loop(timeout=LOOP_SECONDS, use_poll=True, map=self._map, count=1)
        if self._looks.due():
            for channel in list(self.active_channels.values()):
                channel.end_if_late()

    def _busy(self) -> bool:
        return any(not channel.idle for channel in list(self.active_channels.values()))
