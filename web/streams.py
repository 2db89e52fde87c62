"""Streams of Server-Sent Events: a browser's view of one batch while it changes, or of all.

A stream holds a slot, which stands for the thread that waitress keeps busy with it, and a mailbox
of the hub. It holds no database connection while it waits.
"""

from __future__ import annotations

import json
import re
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import models
from models import Batch, Snapshot
from relay import hub as progress
from relay import publish
from relay.hub import Hub, Mailbag, Mailbox
from runtime import metrics
from runtime.bounded import BoundedDict
from web.problems import RETRY_AFTER, Problem

# Seconds: a comment line at least this often shows proxies and browsers that a stream lives; a
# stream looks this often whether it should end; a browser waits this long before it reconnects.
HEARTBEAT_SECONDS = 15.0
WAIT_SECONDS = 1.0
RETRY_SECONDS = 2.0
# A stream of all batches tells the health so often, and pauses so long after each time that it
# sends anything, while what changes is put together; no longer than the second, if a batch ends.
HEALTH_SECONDS = 2.0
PAUSE_SECONDS = 0.1
SHORT_PAUSE_SECONDS = 0.01


def _revision(event_id: str) -> int:
    return int(event_id) if re.fullmatch(r"[0-9]{1,19}", event_id) else 0


_RETRY = f"retry: {RETRY_SECONDS * 1000:.0f}\n\n".encode()


class StoppingError(Exception):
    """The server stops in the middle of a download."""


class Slots:
    """So many in all, and so many for each that holds some. Used by all threads."""

    def __init__(self, number: int, each: int) -> None:
        self._lock = threading.Lock()
        self._number, self._each = number, each
        self._held: Counter[str] = Counter()

    def take(self, holder: str, otherwise: str) -> None:
        """Take one. Raises Problem, with what to do `otherwise`, when none is free."""
        with self._lock:
            if self._held[holder] >= self._each:
                raise Problem(
                    429,
                    "too_many_streams",
                    f"You have {self._each} streams and downloads open, which are the most."
                    f" {otherwise}",
                    headers={"Retry-After": RETRY_AFTER},
                )
            if self._held.total() >= self._number:
                raise Problem(
                    503,
                    "no_stream_slot",
                    f"All streams and downloads are in use. {otherwise}",
                    headers={"Retry-After": RETRY_AFTER},
                )
            self._held[holder] += 1
            metrics.STREAMS.inc()

    def release(self, holder: str) -> None:
        with self._lock:
            self._held[holder] -= 1
            metrics.STREAMS.dec()
            if not self._held[holder]:
                del self._held[holder]


class Streams:
    """Opens streams while there are slots. Used by all request threads."""

    def __init__(self, hub: Hub, slots: Slots, stopping: threading.Event) -> None:
        self._hub = hub
        self._slots = slots
        self._stopping = stopping
        # The newest event of each batch, which is the same in all streams.
        self._made = BoundedDict[int, tuple[Snapshot, bytes]](progress.MAX_TOLD)

    def open(
        self,
        batch_id: int,
        read: Callable[[], Batch],
        *,
        holder: str,
        last_event_id: str,
        disconnected: Callable[[], bool],
    ) -> Iterator[bytes] | None:
        """The stream of a batch; None if it has ended and the browser knows the end already.

        `holder` is whose slot it takes. `last_event_id` is the header by which a browser that
        reconnects tells the revision that it saw last; empty otherwise. What `read` raises comes
        through. Raises Problem when no slot is free. Only a started iterator gives its slot back.
        """
        self._slots.take(holder, "Ask for the batch's state now and then instead.")
        mailbox = self._hub.watch(batch_id)
        try:
            # Watching already: nothing that changes after this reading is missed.
            snapshot = models.snapshot_of(read())
        except BaseException:
            self._leave(mailbox, holder)
            raise
        if snapshot.terminal and _revision(last_event_id) >= snapshot.revision:
            self._leave(mailbox, holder)
            return None
        mailbox.put(snapshot)
        self._hub.tell([snapshot])
        return self._events(mailbox, holder, disconnected)

    def open_all(
        self,
        read: Callable[[], list[Snapshot]],
        health: Callable[[], dict[str, Any]],
        *,
        holder: str,
        disconnected: Callable[[], bool],
    ) -> Iterator[bytes]:
        """The stream of all batches, those that are `read` first; it ends with the server only.

        What `read` raises comes through. Raises Problem when no slot is free. Only a started
        iterator gives its slot back.
        """
        self._slots.take(holder, "Ask for the batches now and then instead.")
        mailbag = self._hub.watch_all()
        try:
            present = read()
        except BaseException:
            self._leave(mailbag, holder)
            raise
        for snapshot in present:
            mailbag.put(snapshot)
        self._hub.tell(present)
        return self._all_events(mailbag, health, holder, disconnected)

    def hold(self, pieces: Iterator[bytes], holder: str) -> Iterator[bytes]:
        """The pieces of a download, which keeps a thread busy as a stream does, and has a slot too.

        Empty pieces are left out. What comes before the first piece raises comes through at once.
        Raises Problem when no slot is free. Only a started iterator gives its slot back.
        """
        self._slots.take(holder, "Please try again soon.")
        pieces = self._unless_stopping(pieces)
        try:
            first = next(pieces, b"")
        except BaseException:
            self._slots.release(holder)
            raise
        return self._held(first, pieces, holder)

    def _held(self, first: bytes, rest: Iterator[bytes], holder: str) -> Iterator[bytes]:
        # Bottle takes the first piece at once, so that `finally` is sure to be reached.
        try:
            yield first
            yield from rest
        finally:
            self._slots.release(holder)

    def _unless_stopping(self, pieces: Iterator[bytes]) -> Iterator[bytes]:
        for number, piece in enumerate(pieces):
            if number and self._stopping.is_set():
                raise StoppingError  # half a file must not look like a whole one
            if piece:
                yield piece

    def _leave(self, mailbox: Mailbox | Mailbag, holder: str) -> None:
        self._hub.unwatch(mailbox)
        self._slots.release(holder)

    def _events(
        self, mailbox: Mailbox, holder: str, disconnected: Callable[[], bool]
    ) -> Iterator[bytes]:
        # Bottle takes the first piece at once, so that `finally` is sure to be reached.
        try:
            yield _RETRY
            quiet_since = time.monotonic()
            while not self._stopping.is_set() and not disconnected():
                snapshot = mailbox.take(WAIT_SECONDS)
                if snapshot is not None:
                    yield b"id: %d\n%b" % (snapshot.revision, self._event(snapshot))
                    quiet_since = time.monotonic()
                    if snapshot.terminal:
                        return
                elif time.monotonic() - quiet_since >= HEARTBEAT_SECONDS:
                    yield b": heartbeat\n\n"
                    quiet_since = time.monotonic()
        finally:
            self._leave(mailbox, holder)

    def _all_events(
        self,
        mailbag: Mailbag,
        health: Callable[[], dict[str, Any]],
        holder: str,
        disconnected: Callable[[], bool],
    ) -> Iterator[bytes]:
        # Bottle takes the first piece at once, so that `finally` is sure to be reached.
        try:
            yield _RETRY
            health_due = time.monotonic()
            while not self._stopping.is_set() and not disconnected():
                events = []
                if time.monotonic() >= health_due:
                    events = [f"event: health\ndata: {json.dumps(health())}\n\n".encode()]
                    health_due = time.monotonic() + HEALTH_SECONDS
                # The health shows that the stream lives; there is no need for other heartbeats.
                wait = 0.0 if events else min(WAIT_SECONDS, health_due - time.monotonic())
                events += [self._event(snapshot) for snapshot in mailbag.take(max(0.0, wait))]
                if events:
                    yield b"".join(events)
                    self._stopping.wait(SHORT_PAUSE_SECONDS)
                    mailbag.await_end(PAUSE_SECONDS - SHORT_PAUSE_SECONDS)
        finally:
            self._leave(mailbag, holder)

    def _event(self, snapshot: Snapshot) -> bytes:
        """The event of a snapshot but for its id."""
        known = self._made.get(snapshot.batch_id)
        if known is not None and known[0] is snapshot:
            return known[1]
        pace = self._hub.rates.pace(snapshot)
        event = f"data: {publish.message(snapshot, **pace)}\n\n".encode()
        self._made[snapshot.batch_id] = snapshot, event
        return event
