"""Connections and the requests received on them, with limits on everything a stranger can do.

Waitress's main thread reads the requests, so a slow client holds no request thread. But
connections are limited, and bodies take memory and disk space.
"""

from __future__ import annotations

import contextlib
import re
import socket
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from http import HTTPStatus
from typing import Any
from urllib.parse import unquote

from waitress.channel import HTTPChannel
from waitress.parser import HTTPRequestParser
from waitress.utilities import Error

from runtime import logs
from web import problems
from web.server import framing
from web.server.answers import ApplicationAnswer
from web.server.framing import Chunked, FramingError
from web.server.refusals import Refusal

# Seconds within which a request's headers must have arrived.
HEADER_SECONDS = 20.0
# Bytes a second at which a body must arrive.
BODY_RATE = 4_000
# Seconds after a request began from which on BODY_RATE counts.
BODY_SECONDS = 30.0
# Seconds after an error response from which on BODY_RATE counts for the data that is dropped.
LINGER_SECONDS = 5.0
# The most bytes of a body, except for an upload's.
SMALL_BODY = 10_000
# The paths of uploads, which take larger bodies.
UPLOADS = ("/api/upload", "/api/preview", "/upload")
# The most bytes of a body that chooses what a batch is processed again with: names of columns and
# texts of options, of which a browser writes each letter beyond ASCII as 6 characters or more.
CHOICE_BODY = 100_000
_AGAIN = re.compile(r"(?:/api)?/batches/[0-9]+/again")
# Bytes of a malformed request in which its method and path are looked for.
FIRST_LINE = 2_000

logger = logs.Logger("connections")
_unparsed = logs.RateLimited(logger)
_broken = logs.RateLimited(logger)


def most_bytes(path: str) -> int:
    """Return the most bytes of a body that is sent to this path, which isn't that of an upload."""
    return CHOICE_BODY if _AGAIN.fullmatch(path) else SMALL_BODY


def too_large(path: str) -> str:
    """Return what a client is told whose body has more than most_bytes()."""
    return f"Only an upload may have a body of more than {most_bytes(path) // 1000} kB."


class _RefusedError(Error):  # type: ignore[misc]
    """The reason for a refusal, as waitress expects it; `detail` is a sentence for the client."""

    def __init__(self, status: HTTPStatus, detail: str | None = None) -> None:
        super().__init__(detail or status.phrase)
        self.code, self.reason, self.detail = status.value, status.phrase, detail


class Bodies:
    """The room that all request bodies share.

    `may_send` tells from a request's headers whether its body may be chunked or above SMALL_BODY.
    `room` is the most bytes of all bodies together.
    `files` is the most bodies that are kept in files.
    """

    def __init__(self, may_send: Callable[[dict[str, str]], bool], room: int, files: int) -> None:
        self.may_send = may_send
        self._lock = threading.Lock()
        self._room = room
        self._files = files

    def take(self, size: int, files: int) -> bool:
        """Take room for more bytes and files, or return False if there is too little."""
        with self._lock:
            if size > self._room or files > self._files:
                return False
            self._room -= size
            self._files -= files
            return True

    def give_back(self, size: int, files: int) -> None:
        with self._lock:
            self._room += size
            self._files += files


class Parser(HTTPRequestParser):  # type: ignore[misc]
    """A request. It becomes an error as soon as its body is unwanted, or the disk is full.

    Data that arrives after that is never taken for another request.
    """

    error: Error | None
    body_rcv: Any
    empty: bool

    def __init__(self, adj: Any) -> None:
        super().__init__(adj)
        self._bodies: Bodies = adj.bodies
        self._taken = self._files = 0
        self._begun = time.monotonic()
        # The monotonic time at which the last byte was received, or the request was refused.
        self.received_at = self._begun
        self._start = b""

    @property
    def asked(self) -> tuple[str, str]:
        """The method and path in the first line, even if the request can't be parsed."""
        method, _, rest = self._start.partition(b"\r\n")[0].decode("latin-1").partition(" ")
        target = re.sub("^[a-z]+://[^/?#]*", "", rest.partition(" ")[0])
        return method[:20] or "-", unquote(re.split("[?#]", target)[0], "latin-1")

    def parse_header(self, header_plus: bytes) -> None:
        """Parse the head of the request. Raises FramingError, and errors that waitress catches."""
        framing.check_raw(header_plus)
        try:
            super().parse_header(header_plus)
        except ValueError:  # from urlsplit(), for a host such as [
            raise FramingError("The request's address is malformed.") from None
        framing.check_target(self)
        if self.chunked:
            self.body_rcv = Chunked(self.body_rcv.getbuf())

    def received(self, data: bytes) -> int:
        started, consumed = self.headers_finished, len(data)
        if not started:
            self._start = (self.header_plus[:FIRST_LINE] + data)[:FIRST_LINE]
        if self.error is None:
            try:
                consumed = super().received(data)
            except FramingError as error:
                self._refuse(HTTPStatus.BAD_REQUEST, str(error))
            except OSError as error:
                self._fail(error)
            except Exception as error:
                # waitress would log a traceback each time that a stranger repeats this.
                _unparsed.warning("a request can't be parsed", error=repr(error))
                self._refuse(HTTPStatus.BAD_REQUEST)
        if self.empty:  # set for a second blank line, after the one that waitress skips
            self.empty = False
            self._refuse(HTTPStatus.BAD_REQUEST, "There are blank lines in place of a request.")
        if self.error is None and self.body_rcv is not None:
            self._count(consumed if started else 0)
        if self.completed:
            self.received_at = time.monotonic()
            # The client gets the answer and not 100 Continue: there is no body, or it is refused.
            self.expect_continue = False
        return consumed if self.error is None else len(data)

    def _count(self, size: int) -> None:
        """Take room for `size` more bytes of the body, or refuse it."""
        assert self.body_rcv is not None  # noqa: S101 (there is a body)
        files = int(self.body_rcv.getbuf().overflowed) - self._files
        if not self._bodies.take(size, files):
            self._refuse(HTTPStatus.SERVICE_UNAVAILABLE)
            return
        self._taken += size
        self._files += files
        size_of_all = max(self.content_length, self._taken)
        large = size_of_all > SMALL_BODY
        if (large or self.chunked) and not self._bodies.may_send(self.headers):
            self._refuse(HTTPStatus.UNAUTHORIZED)
        elif self.path not in UPLOADS and size_of_all > most_bytes(self.path):
            self._refuse(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, too_large(self.path))

    def _fail(self, error: OSError) -> None:
        """Refuse a body that can't be stored, for example because the disk is full."""
        problem = problems.of_system(error)
        if problem is None:
            logger.error("a body can't be kept", error=error)
            self._refuse(HTTPStatus.INTERNAL_SERVER_ERROR)
        else:
            self._refuse(HTTPStatus(problem.status_code), str(problem.body))

    def _refuse(self, status: HTTPStatus, detail: str | None = None) -> None:
        self.error, self.completed = _RefusedError(status, detail), True
        self.received_at = time.monotonic()

    @property
    def late(self) -> bool:
        """True if the headers, or enough of the body, should have arrived by now."""
        seconds = time.monotonic() - self._begun
        if not self.headers_finished:
            return seconds > HEADER_SECONDS
        return bool(self.body_bytes_received < BODY_RATE * (seconds - BODY_SECONDS))

    def give_up(self) -> None:
        """Refuse this request with 408."""
        if not self.headers_finished:
            self.parse_header(b"GET / HTTP/1.0\r\n")
        self._refuse(HTTPStatus.REQUEST_TIMEOUT)

    def drop(self) -> None:
        """Free this request after its client disconnected."""
        self._refuse(HTTPStatus.BAD_REQUEST)
        self.close()

    def close(self) -> None:
        """Free the body and the room that it took."""
        with contextlib.suppress(OSError):  # the disk is full
            super().close()
        self._bodies.give_back(self._taken, self._files)
        self._taken = self._files = 0


class Channel(HTTPChannel):  # type: ignore[misc]
    """A connection.

    After an error was answered, the connection is closed in the two steps of RFC 9112, section 9.6:
    first for sending only, while data that the client still sends is read and dropped. Closing a
    connection with unread data resets it, and the client or a proxy may lose the answer.
    """

    task_class = ApplicationAnswer
    error_task_class = Refusal
    parser_class = Parser
    request: Parser | None
    # The head of an answer, until it is sent with the first piece of the body.
    head = b""

    def __init__(self, *args: Any, **named: Any) -> None:
        super().__init__(*args, **named)
        self._in_error = False
        # The monotonic time at which sending ended.
        self._lingers_since: float | None = None
        # Bytes dropped since the error.
        self._dropped = 0

    @property
    def idle(self) -> bool:
        """True while none of its requests is being answered."""
        return not self.requests and not self.total_outbufs_len

    def service(self) -> None:
        self._in_error = self.requests[0].error is not None
        super().service()

    def write_soon(self, data: bytes) -> int:
        """Send a piece of an answer, after the head if that is still unsent.

        It is never a file, which waitress would also pass: the request log wraps all that the
        application returns.
        """
        if not data:
            return 0
        head, self.head = self.head, b""
        return int(super().write_soon(head + data))

    def send_head(self) -> None:
        """Send the head of an answer if it is still unsent."""
        head, self.head = self.head, b""
        # A client that has its whole answer may leave, and waitress's write_soon() raises
        # ClientDisconnected then, even without data.
        if head:
            super().write_soon(head)

    def received(self, data: bytes) -> bool:
        if self._in_error or any(request.error for request in self.requests):
            self._dropped += len(data)
            return False
        return bool(super().received(data))

    def handle_write(self) -> None:
        if self._in_error and self.close_when_flushed:
            self._flush_exception(self._flush_some)
            if self.connected and not self.will_close and not self.total_outbufs_len:
                self._linger()
                return
        super().handle_write()

    def _linger(self) -> None:
        """End sending after the answer, and keep reading."""
        self.close_when_flushed, self._lingers_since = False, time.monotonic()
        try:
            self.socket.shutdown(socket.SHUT_WR)
        except OSError:  # the client has gone
            self.handle_close()

    def _lingers_too_long(self, since: float) -> bool:
        seconds = time.monotonic() - since
        slow: bool = self._dropped < BODY_RATE * (seconds - LINGER_SECONDS)
        return slow or self._dropped > self.adj.max_request_body_size

    def end_if_late(self) -> None:
        """Answer a request that arrives too slowly with 408. Called by waitress's main thread.

        After an error was answered, close the connection if its client still sends too slowly or
        too much.
        """
        if self._lingers_since is not None:
            if self._lingers_too_long(self._lingers_since):
                self.handle_close()
            return
        with self.requests_lock:
            if self.request is None or not self.idle or not self.request.late:
                return
            self.request.give_up()
            self.requests.append(self.request)
            self.request = None
        self.server.add_task(self)

    def handle_error(self) -> None:
        # Called when receiving or sending fails; waitress would log a traceback each time.
        _broken.warning("a connection failed", error=repr(sys.exception()))
        self.handle_close()

    def handle_close(self) -> None:
        # No lock is taken: a thread that fails to send may call this while holding requests_lock.
        if self.request is not None:
            self.request.drop()
        super().handle_close()


def one_to_close(channels: list[Channel]) -> Channel | None:
    """Return the longest-idle channel of the client with the most idle channels, if any is idle."""
    idle = [channel for channel in channels if channel.idle]
    if not idle:
        return None
    counts = Counter(channel.addr[0] for channel in idle)
    return min(idle, key=lambda each: (-counts[each.addr[0]], each.last_activity))
