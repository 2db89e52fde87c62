"""Serving with waitress: one thread a stream beside those for requests, and an orderly end."""

from __future__ import annotations

import contextlib
import ctypes
import logging
import threading
import time
from collections.abc import Callable, Iterable
from typing import Any

from waitress.channel import HTTPChannel
from waitress.parser import HTTPRequestParser
from waitress.server import TcpWSGIServer
from waitress.utilities import Error

import logs
from problems import WaitressError
from settings import Settings

# Seconds that requests under way get to end when the server stops.
DRAIN_SECONDS = 4.0
# Seconds after which the server looks at the latest whether it is to stop.
LOOP_SECONDS = 0.5
# Connections beyond those that streams hold: keep-alives, requests that wait, slow senders.
SPARE_CONNECTIONS = 500
# Bytes of an answer that wait in memory to be sent, apart from its newest piece.
UNSENT = 1 << 20
# Bytes that an upload may be larger than its file: the multipart form around it.
FORM_OVERHEAD = 1_000_000

logger = logging.getLogger("serving")

WsgiApp = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


# Parameters of glibc's mallopt(): how many heaps a process has at most; from how many bytes on a
# piece of memory is none of a heap's.
_M_ARENA_MAX = -8
_M_MMAP_THRESHOLD = -3
# Bytes for the latter: more than the pieces of a file, which come and go too often to be the
# kernel's each time.
_LARGE = 2 << 20


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


class _NoRoomError(Error):  # type: ignore[misc]
    code = 507
    reason = "Insufficient Storage"


class _Nowhere:
    """Takes the rest of a body that is not kept."""

    def append(self, data: bytes) -> None: ...

    def close(self) -> None: ...


class _Parser(HTTPRequestParser):  # type: ignore[misc]
    """A request. When its body, which waitress keeps in a file, finds the disk full, the rest is
    read all the same, because a client that still sends doesn't hear the answer."""

    _no_room: Error | None = None

    def received(self, data: bytes) -> int:
        try:
            consumed: int = super().received(data)
        except OSError as error:
            logger.error(logs.line("the disk is full", error=error))
            self._no_room = _NoRoomError(str(error))
            with contextlib.suppress(OSError):
                self.body_rcv.buf.close()
            self.body_rcv.buf = _Nowhere()
            if self.chunked:  # how far it was read is lost
                self.completed, consumed = True, len(data)
            else:
                consumed = super().received(data)
        if self.completed and self._no_room is not None:
            self.error = self._no_room
        return consumed


class _Channel(HTTPChannel):  # type: ignore[misc]
    error_task_class = WaitressError
    parser_class = _Parser


class HttpServer(TcpWSGIServer):  # type: ignore[misc]
    """waitress on one address. Raises OSError if it can't listen there."""

    channel_class = _Channel

    def __init__(self, application: WsgiApp, settings: Settings) -> None:
        server = settings.server
        super().__init__(
            application,
            host=server.host,
            port=server.port,
            threads=server.request_threads + server.max_streams,
            connection_limit=server.max_streams + SPARE_CONNECTIONS,
            asyncore_use_poll=True,  # select() ends at 1,024 files
            # Lets a stream learn that its browser has gone.
            channel_request_lookahead=1,
            # A download waits for its reader when this much is to be sent, and none of it goes
            # through a file.
            outbuf_high_watermark=UNSENT,
            outbuf_overflow=4 * UNSENT,
            max_request_body_size=settings.upload.max_megabytes * 1_000_000 + FORM_OVERHEAD,
            ident=None,
        )

    @property
    def url(self) -> str:
        host = f"[{self.effective_host}]" if ":" in self.effective_host else self.effective_host
        return f"http://{host}:{self.effective_port}/"

    def serve(self, stopping: threading.Event) -> None:
        """Serve until `stopping`; then take no new connection and end what is under way."""
        while not stopping.is_set():
            self._loop_once()
        # Only the listening socket; the trigger in the map still wakes the loop.
        self.asyncore.dispatcher.close(self)
        deadline = time.monotonic() + DRAIN_SECONDS
        while self._busy() and time.monotonic() < deadline:
            self._loop_once()
        self.task_dispatcher.shutdown(timeout=1)
        self.asyncore.close_all(self._map)

    def _loop_once(self) -> None:
        self.asyncore.loop(timeout=LOOP_SECONDS, use_poll=True, map=self._map, count=1)

    def _busy(self) -> bool:
        channels = list(self.active_channels.values())
        return any(channel.requests or channel.total_outbufs_len for channel in channels)
