"""Connections and what is received on them, within limits on all that a stranger can do there.

What waitress reads takes no thread of ours, however slowly it comes; but it takes a place among the
connections, and bodies take room on the disk.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections import Counter
from collections.abc import Callable
from http import HTTPStatus
from typing import Any

from waitress.channel import HTTPChannel
from waitress.parser import HTTPRequestParser
from waitress.utilities import Error, RequestHeaderFieldsTooLarge, find_double_newline

import logs
from problems import WaitressError

# Seconds in which a request's headers must be here.
HEADER_SECONDS = 20.0
# Bytes a second that a body must come with, from so many seconds after its request began.
BODY_RATE = 4_000
BODY_SECONDS = 30.0
# Bytes of headers that are too long, that are read all the same.
MAX_SKIPPED = 1_000_000
# Bytes of a body that anybody may send.
SMALL_BODY = 10_000

logger = logging.getLogger("connections")


class _RefusedError(Error):  # type: ignore[misc]
    """Why a request isn't taken, as waitress has it."""

    def __init__(self, status: HTTPStatus, why: str) -> None:
        super().__init__(why)
        self.code, self.reason = status.value, status.phrase


class Bodies:
    """What bodies may take: `may_send` tells by its headers whether a request may bring more than a
    small one; `room` is what all together may have, in bytes."""

    def __init__(self, may_send: Callable[[dict[str, str]], bool], room: int) -> None:
        self.may_send = may_send
        self._lock = threading.Lock()
        self._room = room

    def take(self, size: int) -> bool:
        with self._lock:
            if size > self._room:
                return False
            self._room -= size
            return True

    def give_back(self, size: int) -> None:
        with self._lock:
            self._room += size


class _Nowhere:
    """Takes the rest of a body that is not kept."""

    def append(self, data: bytes) -> None: ...

    def close(self) -> None: ...


class Parser(HTTPRequestParser):  # type: ignore[misc]
    """A request. When its body isn't wanted, or finds the disk full, the rest is read all the same,
    because a client that still sends doesn't hear the answer."""

    error: Error | None

    def __init__(self, adj: Any) -> None:
        super().__init__(adj)
        self._bodies: Bodies = adj.bodies
        self._taken = 0
        self._refusal: Error | None = None
        self._begun = time.monotonic()
        # Of headers that are too long: the error, how much of them was read, and the last of that.
        self._too_long: Error | None = None
        self._skipped, self._end = 0, b""

    def received(self, data: bytes) -> int:
        if self._too_long is not None:
            return self._skip_headers(data)
        started = self.headers_finished
        try:
            consumed: int = super().received(data)
        except OSError as error:
            logger.error(logs.line("the disk is full", error=error))
            self._refuse(HTTPStatus.INSUFFICIENT_STORAGE, str(error))
            if self.chunked:  # how far it was read is lost
                self.completed, consumed = True, len(data)
            else:
                consumed = super().received(data)
        if isinstance(self.error, RequestHeaderFieldsTooLarge) and not started:
            self._too_long, self.completed = self.error, False
            return self._skip_headers(data)
        if self.body_rcv is not None and self._refusal is None:
            self._count(consumed if started else 0)
        if self.completed and self._refusal is not None:
            self.error = self._refusal
        return consumed

    def _skip_headers(self, data: bytes) -> int:
        """Read on to the end of headers that are too long, as far as that can be borne."""
        self._skipped += len(data)
        whole = self._end + data
        self._end = whole[-3:]
        if find_double_newline(whole) >= 0 or self._skipped > MAX_SKIPPED:
            self.error, self.completed = self._too_long, True
        return len(data)

    def _count(self, size: int) -> None:
        """Take room for so much more of the body."""
        if not self._bodies.take(size):
            self._refuse(HTTPStatus.SERVICE_UNAVAILABLE, "there is no room for its body")
            return
        self._taken += size
        large = max(self.content_length, self._taken) > SMALL_BODY or self.chunked
        if large and not self._bodies.may_send(self.headers):
            self._refuse(HTTPStatus.UNAUTHORIZED, "who sends it doesn't sign in")

    def _refuse(self, status: HTTPStatus, why: str) -> None:
        self._refusal = _RefusedError(status, why)
        with contextlib.suppress(OSError):
            self.body_rcv.buf.close()
        self.body_rcv.buf = _Nowhere()

    @property
    def late(self) -> bool:
        """Whether it should have come by now, or more of it."""
        seconds = time.monotonic() - self._begun
        if not self.headers_finished:
            return seconds > HEADER_SECONDS
        return bool(self.body_bytes_received < BODY_RATE * (seconds - BODY_SECONDS))

    def give_up(self) -> None:
        """Make this an error, to be answered."""
        if not self.headers_finished:
            self.parse_header(b"GET / HTTP/1.0\r\n")
        self.error = _RefusedError(HTTPStatus.REQUEST_TIMEOUT, "it came too slowly")
        self.completed = True

    def give_back(self) -> None:
        """Give back the room that its body took."""
        size, self._taken = self._taken, 0
        self._bodies.give_back(size)

    def drop(self) -> None:
        """Keep no more of it: who sent it has gone."""
        if self.body_rcv is not None:
            self._refuse(HTTPStatus.BAD_REQUEST, "it was broken off")
        self.give_back()

    def close(self) -> None:
        super().close()
        self.give_back()


class Channel(HTTPChannel):  # type: ignore[misc]
    """A connection."""

    error_task_class = WaitressError
    parser_class = Parser
    request: Parser | None

    @property
    def idle(self) -> bool:
        """Whether no request of it is being answered."""
        return not self.requests and not self.total_outbufs_len

    def end_if_late(self) -> None:
        """Answer a request that comes too slowly as it is. To be called by the server's thread."""
        with self.requests_lock:
            if self.request is None or not self.idle or not self.request.late:
                return
            self.request.give_up()
            self.requests.append(self.request)
            self.request = None
        self.server.add_task(self)

    def handle_close(self) -> None:
        # Perhaps with the lock of the requests held, by somebody who fails to send.
        if self.request is not None:
            self.request.drop()
        super().handle_close()


def one_to_close(channels: list[Channel]) -> Channel | None:
    """Which makes room for another: of the client with most idle ones, that idle for longest."""
    idle = [channel for channel in channels if channel.idle]
    if not idle:
        return None
    counts = Counter(channel.addr[0] for channel in idle)
    return min(idle, key=lambda each: (-counts[each.addr[0]], each.last_activity))
