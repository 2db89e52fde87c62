"""One nameserver: the sockets that reach it, what is under way there, and whether it is there."""

from __future__ import annotations

import ipaddress
import os
import socket
import struct
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import cycle
from urllib.parse import urlsplit

from processors.domains import wire
from processors.domains.pace import Pace
from processors.domains.wire import Answer

# Sockets of a nameserver: a forger must guess the port of one, and the id of a query.
SOCKETS = 8
# The bytes that a socket's buffer may hold, so that no answer is lost while this process is busy.
BUFFER = 1 << 22
# A nameserver seems away after so many late answers with none in between, and so many seconds; see
# look_into_silence().
UNHEARD, SILENT_SECONDS = 8, 0.5
# The newest tries of a question whose answers are taken: an id is free again after so many.
TRIES_KEPT = 4
# A nameserver that gives so many errors in a row is left out for so many seconds if there is
# another. Errors come fast, so that it would get most questions.
ERRORS_IN_A_ROW, LEFT_OUT_SECONDS = 20, 10.0
# Seconds between two questions to a nameserver that is away.
PROBE_SECONDS = 0.25
# The id of questions that only probe a nameserver, and copies of one that finds out about silence:
# one of them may be lost by chance.
PROBE_ID, COPIES = b"\0\0", 2


@dataclass(eq=False, slots=True)
class Query:
    """A question that is under way, or waits to be asked.

    `number` is its place among all questions in the order in which they were asked; 0 without one.
    `question` is the part of the message sent last that an answer repeats.
    `tries` counts how often it was sent since the last error.
    `errors` counts the answers that were no sensible ones.
    `settled` says whether it is over.
    `began` is since when it has had no answer: when it was first sent, or first sent after its
    nameserver was away; 0 until an answer is late.
    `sent` is when it was last sent.
    `places` has where an answer may still come, for each try: the queries under way of a socket,
    the id, and when it was sent.
    `at` is the nameserver in whose window it is; None if it is in none.
    `last` is the nameserver that was asked last.
    """

    name: str
    kind: int
    done: Callable[[Answer], None]
    number: int = 0
    question: bytes = b""
    tries: int = 0
    errors: int = 0
    settled: bool = False
    began: float = 0.0
    sent: float = 0.0
    at: Nameserver | None = None
    last: Nameserver | None = None
    places: list[tuple[dict[bytes, Query], bytes, float]] = field(default_factory=list)


@dataclass(slots=True)
class Counts:
    """What a nameserver did so far. Any thread may read it.

    `queries` counts those that were sent.
    `late` counts the queries without an answer in time.
    `lost` counts the queries that are known to be lost: a later one was answered.
    `unusual` counts the answers that the slow package read.
    `answers` counts the answers by their results (see wire.py).
    """

    queries: int = 0
    late: int = 0
    lost: int = 0
    unusual: int = 0
    answers: dict[str, int] = field(default_factory=lambda: dict.fromkeys(wire.RESULTS, 0))


class Nameserver:
    """A nameserver at an address and a port. Only one thread may use it."""

    def __init__(self, address: str, port: int, most: int) -> None:
        """`most` is the largest number of queries under way. Raises OSError."""
        self.address, self.port = address, port
        self.pace = Pace(most)
        self.counts = Counts()
        # The queries sent, and when, in this order, until they are late; some are answered.
        self.fresh: deque[tuple[Query, float]] = deque()
        # Since when it has been away, if it is; and when to probe it next.
        self.away_since: float | None = None
        self.probe_at = 0.0
        self.left_out_until = 0.0
        # The errors in a row; when something came last, and the late answers since then.
        self._errors = 0
        self._heard = 0.0
        self._unheard = 0
        # The question that was answered last, and since when it is asked again because of silence.
        self._known: Query | None = None
        self._checked_since: float | None = None
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        # Each socket with the queries whose answer may come there, by id.
        self.sockets: list[tuple[socket.socket, dict[bytes, Query]]] = []
        for _ in range(SOCKETS):
            connected = socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
            self.sockets.append((connected, {}))
            connected.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER)
            connected.connect((address, port))
        self._in_turn = cycle(self.sockets)
        self._ids = _ids()

    @classmethod
    def parse(cls, text: str, most: int) -> Nameserver:
        """Return the nameserver at `address`, `address:port` or `[address]:port`.

        Raises OSError or ValueError.
        """
        try:
            return cls(str(ipaddress.ip_address(text)), 53, most)
        except ValueError:
            parts = urlsplit(f"//{text}")
            return cls(parts.hostname or "", parts.port or 53, most)

    def __str__(self) -> str:
        return (
            f"[{self.address}]:{self.port}"
            if ":" in self.address
            else f"{self.address}:{self.port}"
        )

    def close(self) -> None:
        for connected, _ in self.sockets:
            connected.close()

    def send(self, query: Query, now: float) -> None:
        """Send a query, which then is in the window. Raises OSError if it can't be sent now."""
        connected, flying = next(self._in_turn)
        query_id = next(self._ids)
        while query_id in flying:
            query_id = next(self._ids)
        packet = wire.query(query.name, query.kind, query_id)
        connected.send(packet)
        query.question = packet[wire.QUESTION]
        if len(query.places) == TRIES_KEPT:
            of_oldest, oldest_id, _ = query.places.pop(0)
            of_oldest.pop(oldest_id, None)
        query.places.append((flying, query_id, now))
        query.sent = now
        query.tries += 1
        query.at = query.last = self
        flying[query_id] = query
        self.fresh.append((query, now))
        self.pace.sent()
        self.counts.queries += 1

    def probe(self, name: str = "com", kind: int = wire.A) -> None:
        """Send a query of which only counts whether an answer comes; see heard().

        By default, it is one that every nameserver answers somehow.
        """
        connected, _ = self.sockets[0]
        with suppress(OSError):
            connected.send(wire.query(name, kind, PROBE_ID))

    def look_into_silence(self, now: float) -> None:
        """If most queries meet silence, ask once more what was answered before.

        Without an answer to that, or if nothing was ever answered, queries get lost, or the
        nameserver is away. With one, see answered_probe(), the questions are to blame.
        """
        since = self._checked_since
        seems_away = self._unheard >= UNHEARD and self.is_silent(now)
        if not (self.pace.meets_silence or seems_away):
            self._checked_since = None
        elif since is None and self._known is not None:
            self._checked_since = now
            for _ in range(COPIES):
                self.probe(self._known.name, self._known.kind)
        elif since is None or now - since > self.pace.patience:
            self._checked_since = None
            self.pace.judge_silence(lost=True)
            if seems_away:
                self.lose(now)

    def answered_probe(self) -> None:
        """Note an answer to a probe."""
        if self._checked_since is not None:
            self._checked_since = None
            self.pace.judge_silence(lost=False)

    def heard(self, now: float) -> None:
        """Note that the nameserver has sent something, so that it is there."""
        self._heard = now
        self._unheard = 0
        self.away_since = None

    def answered(self, query: Query, now: float, *, error: bool) -> None:
        """Note an answer; after many errors in a row, the nameserver is left out for a while."""
        if not error:
            self._errors = 0
            self._known = query
            return
        self._errors += 1
        if self._errors >= ERRORS_IN_A_ROW:
            self.left_out_until = now + LEFT_OUT_SECONDS

    def is_silent(self, now: float) -> bool:
        """Return whether nothing has come for a while."""
        return now - self._heard >= SILENT_SECONDS

    def late(self, query: Query, now: float) -> None:
        """Note that an answer is late; after many, the nameserver may be away.

        Only the first query of a question counts: one that is asked again may be one to which
        nobody has an answer.
        """
        self.pace.late(first=query.tries == 1)
        self.counts.late += 1
        self._unheard += query.tries == 1

    def lose(self, now: float) -> None:
        """Note that the nameserver is away."""
        if self.away_since is None:
            self.away_since = now


def _ids() -> Iterator[bytes]:
    """Yield random ids of queries, which nobody can foresee."""
    while True:
        for (query_id,) in struct.iter_unpack("2s", os.urandom(4096)):
            if query_id != PROBE_ID:
                yield query_id
