"""Streams of Server-Sent Events, by which a browser follows one batch or all batches.

A stream holds a slot, because it keeps one of waitress's threads busy, and a mailbox of the hub.
It holds no database connection while it waits.
"""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from bottle import HTTPResponse

from models import Snapshot
from relay import publish
from relay.hub import MAX_DELIVERED, Hub, Mailbox
from runtime import metrics
from runtime.bounded import BoundedDict
from runtime.every import Every
from web.parameters import whole_number
from web.problems import try_later

# Seconds between two comment lines in a stream of one batch, and between two health events in a
# stream of all batches. Both show proxies and browsers that the stream is alive.
HEARTBEAT_SECONDS = 15.0
HEALTH_SECONDS = 2.0
# Seconds after which a stream checks whether to end, and after which a browser reconnects.
WAIT_SECONDS = 1.0
RETRY_SECONDS = 2.0
# Seconds that a stream of all batches pauses after each piece, in which changes gather for the
# next; a batch that ends cuts the pause short.
PAUSE_SECONDS = 0.1
SHORT_PAUSE_SECONDS = 0.01

_RETRY = f"retry: {RETRY_SECONDS * 1000:.0f}\n\n".encode()
_HEARTBEAT = b": heartbeat\n\n"


class StoppingError(Exception):
    """The server is stopping in the middle of a download."""


class Slots:
    """Slots for streams and downloads: `number` in all, `each` for one holder. For any thread."""

    def __init__(self, number: int, each: int) -> None:
        self._lock = threading.Lock()
        self._number, self._each = number, each
        self._held: Counter[str] = Counter()

    @contextmanager
    def hold(self, holder: str, otherwise: str) -> Iterator[None]:
        """Hold a slot. Raises Problem when none is free; `otherwise` says what to do then."""
        with self._lock:
            if self._held[holder] >= self._each:
                detail = f"You have {self._each} streams and downloads open, which are the most."
                raise try_later(429, "too_many_streams", f"{detail} {otherwise}")
            if self._held.total() >= self._number:
                detail = "All streams and downloads are in use."
                raise try_later(503, "no_stream_slot", f"{detail} {otherwise}")
            self._held[holder] += 1
            metrics.STREAMS.inc()
        try:
            yield
        finally:
            with self._lock:
                self._held[holder] -= 1
                metrics.STREAMS.dec()
                if not self._held[holder]:
                    del self._held[holder]


class Streams:
    """Opens streams and downloads while there are slots. For any thread."""

    def __init__(self, hub: Hub, slots: Slots, stopping: threading.Event) -> None:
        self._hub = hub
        self._slots = slots
        self._stopping = stopping
        # By batch: the newest event, which is the same in all streams.
        self._made = BoundedDict[int, tuple[Snapshot, bytes]](MAX_DELIVERED)

    def open(
        self,
        batch_id: int | None,
        read: Callable[[], list[Snapshot]],
        *,
        holder: str,
        disconnected: Callable[[], bool],
        last_event_id: str = "",
        health: Callable[[], dict[str, Any]] | None = None,
    ) -> Iterator[bytes]:
        """Return the stream of a batch, until its end, or of all batches, until the server stops.

        `read` returns the snapshots to begin with; its errors are passed on.
        `holder` takes a slot. Only a started iterator gives the slot back.
        `last_event_id` is the last revision that a browser saw before it reconnected, as text.
        `health` returns the data of health events; without it there are heartbeats instead.

        Raises Problem when no slot is free, and HTTPResponse 204, after which a browser doesn't
        reconnect, when the browser has seen the batch's end.
        """
        with ExitStack() as held:
            held.enter_context(self._slots.hold(holder, "Ask for the state now and then instead."))
            mailbox = self._hub.watch(batch_id)
            held.callback(self._hub.unwatch, mailbox)
            present = read()  # after watch(), so that no change between the two is missed
            if batch_id is not None and _knows_end(last_event_id, present[0]):
                raise HTTPResponse(status=204)
            for snapshot in present:
                mailbox.put(snapshot)
            self._hub.tell(present)
            events = self._events(mailbox, health, disconnected)
            return _holding(held.pop_all(), _RETRY, events)

    def hold(self, pieces: Iterator[bytes], holder: str) -> Iterator[bytes]:
        """Return the pieces of a download, which takes a slot because it keeps a thread busy too.

        Empty pieces are left out. Errors before the first piece are passed on at once.
        Raises Problem when no slot is free. Only a started iterator gives its slot back.
        """
        with ExitStack() as held:
            held.enter_context(self._slots.hold(holder, "Please try again soon."))
            pieces = self._unless_stopping(pieces)
            first = next(pieces, b"")
            return _holding(held.pop_all(), first, pieces)

    def _unless_stopping(self, pieces: Iterator[bytes]) -> Iterator[bytes]:
        for number, piece in enumerate(pieces):
            if number and self._stopping.is_set():
                raise StoppingError  # half a file must not look like a whole one
            if piece:
                yield piece

    def _events(
        self,
        mailbox: Mailbox,
        health: Callable[[], dict[str, Any]] | None,
        disconnected: Callable[[], bool],
    ) -> Iterator[bytes]:
        of_all = mailbox.batch_id is None
        signs = Every(HEALTH_SECONDS if health else HEARTBEAT_SECONDS)
        if not health:
            signs.restart()
        while not self._stopping.is_set() and not disconnected():
            events = [_sign_of_life(health)] if signs.due() else []
            snapshots = mailbox.take(0.0 if events else min(WAIT_SECONDS, signs.left))
            events += [self._event(snapshot, with_id=not of_all) for snapshot in snapshots]
            if not events:
                continue
            yield b"".join(events)
            if of_all:
                mailbox.pause(SHORT_PAUSE_SECONDS)
                mailbox.await_end(PAUSE_SECONDS - SHORT_PAUSE_SECONDS)
            elif snapshots and snapshots[0].terminal:
                return
            else:
                signs.restart()

    def _event(self, snapshot: Snapshot, *, with_id: bool) -> bytes:
        made = self._made.get(snapshot.batch_id)
        if made is None or made[0] is not snapshot:
            pace = self._hub.rates.pace(snapshot)
            made = snapshot, f"data: {publish.message(snapshot, **pace)}\n\n".encode()
            self._made[snapshot.batch_id] = made
        return (b"id: %d\n" % snapshot.revision if with_id else b"") + made[1]


def _holding(held: ExitStack, first: bytes, rest: Iterator[bytes]) -> Iterator[bytes]:
    """Yield the pieces, and then give back everything in `held`."""
    with held:  # sure to be entered, because Bottle takes the first piece at once
        yield first
        yield from rest


def _sign_of_life(health: Callable[[], dict[str, Any]] | None) -> bytes:
    return f"event: health\ndata: {json.dumps(health())}\n\n".encode() if health else _HEARTBEAT


def _knows_end(last_event_id: str, snapshot: Snapshot) -> bool:
    return snapshot.terminal and (whole_number(last_event_id) or 0) >= snapshot.revision
