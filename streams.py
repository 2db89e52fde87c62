"""Streams of Server-Sent Events: one browser's view of one batch, for as long as it changes.

A stream holds a slot, which stands for the thread that waitress keeps busy with it, and a mailbox
of the hub. It holds no database connection while it waits.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Iterator

import models
import progress
from models import Batch
from problems import RETRY_AFTER, Problem
from progress import Hub, Mailbox

# Seconds: a comment line at least this often shows proxies and browsers that a stream lives; a
# stream looks this often whether it should end; a browser waits this long before it reconnects.
HEARTBEAT_SECONDS = 15.0
WAIT_SECONDS = 1.0
RETRY_SECONDS = 2.0


def _revision(event_id: str) -> int:
    return int(event_id) if re.fullmatch(r"[0-9]{1,19}", event_id) else 0


class StoppingError(Exception):
    """The server stops in the middle of a download."""


class Streams:
    """Opens streams while there are slots. Used by all request threads."""

    def __init__(self, hub: Hub, slots: int, stopping: threading.Event) -> None:
        self._hub = hub
        self._slots = threading.BoundedSemaphore(slots)
        self._stopping = stopping

    def open(
        self,
        batch_id: int,
        read: Callable[[], Batch],
        *,
        last_event_id: str,
        disconnected: Callable[[], bool],
    ) -> Iterator[bytes] | None:
        """The stream of a batch; None if it has ended and the browser knows the end already.

        `last_event_id` is the header by which a browser that reconnects tells the revision that
        it saw last; empty otherwise. What `read` raises comes through. Raises Problem when no
        slot is free. Only a started iterator gives its slot back.
        """
        self._take_slot(
            "All live streams are in use. Ask for the batch's state now and then instead."
        )
        mailbox = self._hub.watch(batch_id)
        try:
            # Watching already: nothing that changes after this reading is missed.
            snapshot = models.snapshot_of(read())
        except BaseException:
            self._leave(mailbox)
            raise
        if snapshot.terminal and _revision(last_event_id) >= snapshot.revision:
            self._leave(mailbox)
            return None
        mailbox.put(snapshot)
        return self._events(mailbox, disconnected)

    def hold(self, pieces: Iterator[bytes]) -> Iterator[bytes]:
        """The pieces of a download, which keeps a thread busy as a stream does, and has a slot too.

        What the first piece raises comes through at once. Raises Problem when no slot is free.
        Only a started iterator gives its slot back.
        """
        self._take_slot("All downloads and live streams are in use. Please try again soon.")
        try:
            first = next(pieces)
        except BaseException:
            self._slots.release()
            raise
        return self._held(first, pieces)

    def _held(self, first: bytes, rest: Iterator[bytes]) -> Iterator[bytes]:
        # Bottle takes the first piece at once, so that `finally` is sure to be reached.
        try:
            yield first
            for piece in rest:
                if self._stopping.is_set():
                    raise StoppingError  # half a file must not look like a whole one
                yield piece
        finally:
            self._slots.release()

    def _take_slot(self, otherwise: str) -> None:
        if not self._slots.acquire(blocking=False):
            raise Problem(503, "no_stream_slot", otherwise, headers={"Retry-After": RETRY_AFTER})

    def _leave(self, mailbox: Mailbox) -> None:
        self._hub.unwatch(mailbox)
        self._slots.release()

    def _events(self, mailbox: Mailbox, disconnected: Callable[[], bool]) -> Iterator[bytes]:
        # Bottle takes the first piece at once, so that `finally` is sure to be reached.
        try:
            yield f"retry: {RETRY_SECONDS * 1000:.0f}\n\n".encode()
            quiet_since = time.monotonic()
            while not self._stopping.is_set() and not disconnected():
                snapshot = mailbox.take(WAIT_SECONDS)
                if snapshot is not None:
                    event = f"id: {snapshot.revision}\ndata: {progress.message(snapshot)}\n\n"
                    yield event.encode()
                    quiet_since = time.monotonic()
                    if snapshot.terminal:
                        return
                elif time.monotonic() - quiet_since >= HEARTBEAT_SECONDS:
                    yield b": heartbeat\n\n"
                    quiet_since = time.monotonic()
        finally:
            self._leave(mailbox)
