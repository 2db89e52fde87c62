"""The hub: receives the snapshots that are published and passes them to the streams.

The hub has the app's only subscription. A stream watches one batch, or all, through a mailbox that
holds the newest snapshot of each, so that a slow browser delays nobody else.

Redis Pub/Sub drops messages while nobody is subscribed, so the hub also reads the watched batches
from PostgreSQL: every second while Redis is away, every REFRESH_SECONDS otherwise. The hub's thread
probes Redis for the whole process.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

import redis

from batches import snapshots
from models import DELETED, Snapshot
from postgres.database import UNREACHABLE, session
from relay.doorbell import PROBE_SECONDS, Doorbell
from relay.publish import NO_BATCH, PARSE_ERRORS, parse
from relay.rates import Rates
from runtime import logs
from runtime.bounded import BoundedDict
from runtime.every import Every
from runtime.few_at_once import NOBODY, FewAtOnce
from runtime.redis_client import REDIS_TIMEOUT

# Seconds between two readings of the watched batches while Redis works. While Redis is away, a
# reading follows each probe.
REFRESH_SECONDS = 5.0
# Seconds that one call waits for a message.
RECEIVE_SECONDS = 1.0
# A stream of all batches begins with so many of the newest batches, and so many of the oldest
# unfinished ones. A refresh reads them again.
NEWEST, UNFINISHED = 20, 1000
# Batches whose last delivered snapshot is remembered.
MAX_DELIVERED = 3 * UNFINISHED
# Revisions that a message may be ahead of the last delivered one without a look into PostgreSQL.
MAX_AHEAD = 100

logger = logs.Logger("hub")


class Mailbox:
    """Holds the newest snapshot of each batch that a stream watches, until the stream takes them.

    `batch_id` is the only batch watched, or None for all.
    """

    def __init__(self, batch_id: int | None, few: FewAtOnce) -> None:
        """`few` wakes the streams that have something to send."""
        self.batch_id = batch_id
        self._few = few
        self._lock = threading.Lock()
        self._newest: dict[int, Snapshot] = {}
        self._has_end = False
        # By batch: the revision of the last snapshot put in.
        self._revisions = BoundedDict[int, int](MAX_DELIVERED)
        # What the stream waits for; None while it doesn't wait, and once it is to be woken.
        self._awaited: Callable[[], bool] | None = None
        # Released to wake the stream; each wait has one of its own. None while it doesn't wait.
        self._bell: threading.Lock | None = None

    def put(self, snapshot: Snapshot, *, correct: bool = False) -> None:
        """Put the snapshot in if it is newer than the last one of its batch, or corrects that."""
        batch_id = snapshot.batch_id
        with self._lock:
            if correct or snapshot.revision > self._revisions.get(batch_id, 0):
                self._newest[batch_id] = snapshot
                self._has_end = self._has_end or snapshot.terminal
                self._revisions[batch_id] = snapshot.revision
                self._wake_if_true()

    def take(self, timeout: float) -> list[Snapshot]:
        """Take all snapshots out.

        Waits up to `timeout` seconds until there is one and the stream may go on; with 0, not at
        all.
        """
        if timeout:
            self._wait(lambda: bool(self._newest), timeout)
        with self._lock:
            newest, self._newest = self._newest, {}
            self._has_end = False
            return list(newest.values())

    def await_end(self, timeout: float) -> None:
        """Wait up to `timeout` seconds for a terminal snapshot, and leave it in."""
        self._wait(lambda: self._has_end, timeout)

    def pause(self, seconds: float) -> None:
        """Wait this many seconds, whatever is put in."""
        self._few.done(self)
        time.sleep(seconds)

    def close(self) -> None:
        """No longer count this stream, which has ended."""
        self._few.done(self)

    def _wait(self, condition: Callable[[], bool], timeout: float) -> None:
        """Wait up to `timeout` seconds until the condition is true and the stream may go on."""
        self._few.done(self)
        bell = threading.Lock()
        bell.acquire()
        with self._lock:
            self._awaited, self._bell = condition, bell
            self._wake_if_true()
        bell.acquire(timeout=timeout)
        with self._lock:
            self._awaited = self._bell = None

    def _wake_if_true(self) -> None:
        """Have the stream woken if what it waits for is true. The lock is held."""
        bell = self._bell
        if bell is None or self._awaited is None or not self._awaited():
            return
        self._awaited = None

        def wake() -> object:
            if self._bell is not bell:  # the wait has timed out
                return NOBODY
            bell.release()
            return self

        self._few.add(wake)


class Hub:
    """Delivers snapshots to mailboxes. Any thread may call the public methods, except run_once().

    `rates` notes every snapshot, also of batches that nobody watches.
    """

    def __init__(self, doorbell: Doorbell, channel_prefix: str) -> None:
        self._doorbell = doorbell
        doorbell.probes.insert(0, self._try_to_subscribe)
        # With the special characters of Redis's patterns escaped.
        self._pattern = "".join(f"\\{c}" if c in "*?[]\\" else c for c in channel_prefix) + "*"
        self.rates = Rates()
        self._lock = threading.Lock()
        # By batch, and under None those of all batches.
        self._mailboxes: defaultdict[int | None, set[Mailbox]] = defaultdict(set)
        # By batch: the last snapshot delivered to any mailbox. PostgreSQL shows what came after it.
        self._delivered = BoundedDict[int, Snapshot](MAX_DELIVERED)
        self._few = FewAtOnce("streams")
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="hub", daemon=True)
        # Below: owned by the hub's thread.
        self._pubsub: Any = None
        self._refreshes = Every(REFRESH_SECONDS)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """End the hub's thread, and wake no further stream. Takes up to two seconds."""
        self._stopping.set()
        self._thread.join()
        self._few.stop()

    def watch(self, batch_id: int | None) -> Mailbox:
        """Return a mailbox that gets every new snapshot of this batch; of all batches for None."""
        mailbox = Mailbox(batch_id, self._few)
        with self._lock:
            self._mailboxes[batch_id].add(mailbox)
        return mailbox

    def unwatch(self, mailbox: Mailbox) -> None:
        """Stop delivering to this mailbox, whose stream has ended."""
        mailbox.close()
        with self._lock:
            watching = self._mailboxes[mailbox.batch_id]
            watching.discard(mailbox)
            if not watching:
                del self._mailboxes[mailbox.batch_id]
            if not self._mailboxes:
                self._delivered.clear()

    def tell(self, snapshots: Iterable[Snapshot]) -> None:
        """Deliver snapshots that this process has read or made itself, without Redis."""
        for snapshot in snapshots:
            self._deliver(snapshot)

    # The hub's thread owns the methods below.

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                self.run_once()
            except Exception:
                logger.exception("hub failed; it goes on")
                self._stopping.wait(1.0)
        self._drop_subscription()

    def run_once(self) -> None:
        """Wait for one message, RECEIVE_SECONDS at most, and deliver it; refresh if that is due."""
        if self._doorbell.away:
            self._drop_subscription()
            self._stopping.wait(PROBE_SECONDS)
            self._doorbell.probe()
            self._refreshes.hasten()
        else:
            self._doorbell.use(self._receive)
        if self._refreshes.due():
            self._refresh()
            self._doorbell.check()
            self._refreshes.restart()  # so that slow readings leave time for messages

    def _receive(self) -> None:
        if self._pubsub is None:
            self._pubsub = self._doorbell.client.pubsub()  # type: ignore[no-untyped-call]
            self._pubsub.psubscribe(self._pattern)
        received = self._pubsub.get_message(timeout=RECEIVE_SECONDS)
        if received is None:
            return
        if received["type"] == "psubscribe":
            self._refreshes.hasten()  # earlier messages were missed
        elif received["type"] == "pmessage":
            self._handle(received)

    def _handle(self, message: dict[str, Any]) -> None:
        try:
            snapshot = parse(message["data"])
        except PARSE_ERRORS as error:
            logger.warning("not a snapshot", channel=message["channel"], error=error)
            return
        if snapshot.batch_id == NO_BATCH:
            return
        if self._is_doubtful(snapshot):
            self._ask_postgres(snapshot)
        else:
            self._deliver(snapshot)

    def _is_doubtful(self, snapshot: Snapshot) -> bool:
        """Return whether the snapshot would end streams, or let them ignore many revisions to come.

        Anybody who can write to Redis may have forged it.
        """
        with self._lock:
            if self._mailboxes.keys().isdisjoint((snapshot.batch_id, None)):
                return False
            last = self._delivered.get(snapshot.batch_id)
        revision = last.revision if last else 0
        if snapshot.revision <= revision:
            return False
        return snapshot.terminal or snapshot.revision > revision + MAX_AHEAD

    def _ask_postgres(self, doubtful: Snapshot) -> None:
        """Deliver PostgreSQL's snapshot of the batch instead, or none while PostgreSQL is away."""
        try:
            with session():
                present = snapshots.present([doubtful.batch_id])
        except UNREACHABLE as error:
            logger.debug("not confirmed", batch=doubtful.batch_id, error=error)
            return
        if not present and doubtful.status == DELETED:
            present = [doubtful]
        self.tell(present)

    def _deliver(self, snapshot: Snapshot, instead_of: Snapshot | None = None) -> None:
        """Put the snapshot into the mailboxes that watch its batch if it is newer than the last.

        `instead_of` is the last one if it was wrong; even an older snapshot replaces it.
        """
        batch_id = snapshot.batch_id
        self.rates.note(snapshot)
        with self._lock:
            last = self._delivered.get(batch_id)
            correct = last is not None and last is instead_of
            if last is not None and last.revision >= snapshot.revision and not correct:
                return  # later streams began with a snapshot that is no older
            watching = [*self._mailboxes.get(batch_id, ()), *self._mailboxes.get(None, ())]
            for mailbox in watching:
                mailbox.put(snapshot, correct=correct)
            if snapshot.status == DELETED:
                self._delivered.pop(batch_id, None)
            elif watching:
                self._delivered[batch_id] = snapshot

    def _refresh(self) -> None:
        """Read the watched batches from PostgreSQL, and deliver changes and deletions."""
        with self._lock:
            if not self._mailboxes:
                return
            all_watched = None in self._mailboxes
            watched = {batch_id for batch_id in self._mailboxes if batch_id is not None}
            delivered = {
                batch_id: snapshot
                for batch_id, snapshot in self._delivered.items()
                if all_watched or batch_id in watched
            }
        try:
            with session():
                present = snapshots.present([*(watched | delivered.keys())])
                newest = snapshots.newest_and_unfinished(NEWEST, UNFINISHED) if all_watched else []
        except UNREACHABLE as error:
            logger.debug("refresh failed", error=error)
            return
        for snapshot in (*present, *newest):
            last = delivered.get(snapshot.batch_id)
            # Published after its commit, a true snapshot is never ahead of PostgreSQL.
            wrong = last is not None and last.revision > snapshot.revision
            self._deliver(snapshot, instead_of=last if wrong else None)
        for batch_id in delivered.keys() - {snapshot.batch_id for snapshot in present}:
            last = delivered[batch_id]
            self._deliver(replace(last, status=DELETED, revision=last.revision + 1))

    def _try_to_subscribe(self) -> None:
        pubsub: Any = self._doorbell.client.pubsub()  # type: ignore[no-untyped-call]
        with contextlib.closing(pubsub):
            pubsub.psubscribe(self._pattern)
            pubsub.get_message(timeout=REDIS_TIMEOUT)

    def _drop_subscription(self) -> None:
        if self._pubsub is not None:
            pubsub, self._pubsub = self._pubsub, None
            try:
                pubsub.close()
            except redis.RedisError:
                logger.debug("closing a broken subscription", exc_info=True)
