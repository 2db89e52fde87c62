"""Serving with waitress: one thread a stream beside those for requests, and an orderly end."""

from __future__ import annotations

import contextlib
import ctypes
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

from waitress.server import TcpWSGIServer

from runtime import descriptors, logs, systemd
from runtime.every import Every
from runtime.settings import Server, Settings
from web.server import connections
from web.server.connections import Bodies, Channel
from web.server.headers import WsgiApp

# Seconds that requests under way get to end when the server stops.
DRAIN_SECONDS = 4.0
# Seconds after which the server looks at the latest whether it is to stop.
LOOP_SECONDS = 0.5
# Seconds between two looks at requests that come too slowly.
LOOK_SECONDS = 1.0
# Connections beyond those that streams hold: keep-alives, requests that wait, slow senders.
SPARE_CONNECTIONS = 500
# The same where there are too few file descriptors for that, at least.
LEAST_SPARE = 50
# Seconds for which no connection is accepted after one could not be.
ACCEPT_PAUSE = 0.5
# Bytes of an answer that wait in memory to be sent, apart from its newest piece.
UNSENT = 1 << 20
# Bytes that an upload may be larger than its file: the multipart form around it.
FORM_OVERHEAD = 1_000_000
# Bytes that a request's first line and headers may have together.
MAX_HEADERS = 32_768
# How many of the largest uploads may be on their way at once; smaller ones, as many as fit.
LARGEST_UPLOADS = 4

# Parameters of glibc's mallopt(): how many heaps a process has at most; from how many bytes on a
# piece of memory is none of a heap's.
_M_ARENA_MAX = -8
_M_MMAP_THRESHOLD = -3
# Bytes for the latter: more than the pieces of a file, which come and go too often to be the
# kernel's each time.
_LARGE = 2 << 20


logger = logs.Logger("serving")


def keep_memory_small() -> None:
    """Give back what a large upload took, where the C library is glibc; before there are threads.

    Otherwise each thread of a hundred or so keeps a heap of its own, as large as the largest upload
    or download that it ever served. They don't get into each other's way in one, as only one of
    them runs Python at a time. Large tables are in no heap, where they would leave holes; glibc
    would raise the threshold for that with the first of them, but for one that is set.
    """
    with contextlib.suppress(AttributeError, OSError):  # another C library
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_M_ARENA_MAX, 1)
        mallopt(_M_MMAP_THRESHOLD, _LARGE)


def _room(server: Server) -> tuple[int, int]:
    """How many connections there may be, and how many bodies in files, so that file descriptors are
    left for everything else; their limit is raised. Raises SettingsError if that is too few.
    """
    most = server.max_streams + SPARE_CONNECTIONS
    others = (
        descriptors.OWN
        + descriptors.SESSION * server.connections
        + descriptors.REQUEST * server.request_threads
    )
    # Requests may also be at work in the threads of streams.
    limit = descriptors.allow(others + 2 * most + descriptors.REQUEST * server.max_streams)
    least = server.max_streams + LEAST_SPARE
    # A body is in a file beside its connection.
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
    """waitress on one address. Raises OSError if it can't listen there, and SettingsError if there
    are too few file descriptors."""

    channel_class = Channel

    def __init__(
        self,
        application: WsgiApp,
        settings: Settings,
        may_send: Callable[[dict[str, str]], bool],
    ) -> None:
        """`may_send` tells by its headers, as `NAME_OF_IT`, whether a request may bring a file."""
        server = settings.server
        largest = settings.upload.max_megabytes * 1_000_000 + FORM_OVERHEAD
        self._most_connections, files = _room(server)
        self._looks = Every(LOOK_SECONDS)
        self._accept_again = 0.0
        self._make_room = False
        self._sparingly = logs.RateLimited(logger)
        super().__init__(
            application,
            host=server.host,
            port=server.port,
            threads=server.request_threads + server.max_streams,
            connection_limit=sys.maxsize,  # ours is better: see readable()
            asyncore_use_poll=True,  # select() ends at 1,024 files
            # Lets a stream learn that its browser has gone.
            channel_request_lookahead=1,
            # A download waits for its reader when this much is to be sent, and none of it goes
            # through a file.
            outbuf_high_watermark=UNSENT,
            outbuf_overflow=4 * UNSENT,
            max_request_body_size=largest,
            max_request_header_size=MAX_HEADERS,
            # We have several proxies' headers to trust or not; see Access.
            clear_untrusted_proxy_headers=False,
            ident=None,
        )
        self.adj.bodies = Bodies(may_send, LARGEST_UPLOADS * largest, files)

    @property
    def url(self) -> str:
        host = f"[{self.effective_host}]" if ":" in self.effective_host else self.effective_host
        return f"http://{host}:{self.effective_port}/"

    def readable(self) -> bool:
        """Whether connections are accepted: not while there are too many of which none idles."""
        return (
            super().readable()
            and len(self.active_channels) <= self._most_connections
            and time.monotonic() >= self._accept_again
        )

    def accept(self) -> Any:
        """Accept a connection. What keeps it from that, such as a want of file descriptors, lasts,
        and waitress would try it again at once, and log each time."""
        try:
            return super().accept()
        except OSError as error:
            self._sparingly.warning("no connection can be accepted", error=error)
            self._accept_again = time.monotonic() + ACCEPT_PAUSE
            self._make_room = True
            return None

    def _close_one(self) -> None:
        """Close a connection that idles, if there are too many.

        Not while events are handled: a new one must not get the number of a file about to be read.
        """
        if self._make_room or len(self.active_channels) > self._most_connections:
            self._make_room = False
            channel = connections.one_to_close(list(self.active_channels.values()))
            if channel is not None:
                channel.handle_close()

    def serve(self, stopping: threading.Event) -> None:
        """Serve until `stopping`; then take no new connection and end what is under way."""
        while not stopping.is_set():
            systemd.alive()
            self._loop_once()
        systemd.stopping()
        # Only the listening socket; the trigger in the map still wakes the loop.
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
        channels = list(self.active_channels.values())
        return any(channel.requests or channel.total_outbufs_len for channel in channels)
