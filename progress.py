"""Progress from the workers to the browsers: the hub that feeds the streams.

The hub has the app's only subscription. Each stream watches one batch through a mailbox with room
for one snapshot, or all batches through a mailbag with room for one of each, because only the
newest matters; a slow browser costs nobody anything. What Pub/Sub loses (it keeps nothing for who
isn't listening) the hub makes up for by reading from PostgreSQL what the streams watch: every
second while Redis is away, rarely otherwise. It also probes for the whole process whether a Redis
that was away is back.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections import OrderedDict, defaultdict
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import redis

import logs
import models
import publishing
from batchqueue import BatchQueue
from database import UNREACHABLE, session
from doorbell import PROBE_SECONDS, Doorbell
from models import DELETED, Snapshot
from publishing import NOT_ONE, parse, publish, remember
from rates import Rates
from redisclient import REDIS_TIMEOUT

# Seconds between two readings of the watched batches while Redis is there; while it is away, they
# are read as often as it is probed.
REFRESH_SECONDS = 5.0
# Seconds that the hub waits for a message before it looks at anything else.
RECEIVE_SECONDS = 1.0
# What who watches all batches is told of at first, and again when something may be missed: so many
# of the newest batches, and so many unfinished ones.
NEWEST, UNFINISHED = 20, 1000
# Batches of which it is remembered what was told of them last.
MAX_TOLD = 3 * UNFINISHED
# Revisions that a message may be ahead of what was told before, until PostgreSQL is asked.
MAX_AHEAD = 100

logger = logging.getLogger("progress")


def announce(
    doorbell: Doorbell, queue: BatchQueue, channel_prefix: str, snapshot: Snapshot
) -> None:
    """Tell workers and pages what was done to a batch: ring, if there is work, and publish.

    Without Redis both find out by themselves.
    """
    if not snapshot.terminal:
        doorbell.use(lambda: queue.enqueue(snapshot.batch_id))
    doorbell.use(lambda: publish(doorbell, channel_prefix, snapshot))


class Mailbox:
    """Room for one snapshot, the newest: the hub puts it in, one stream takes it out."""

    def __init__(self, batch_id: int) -> None:
        self.batch_id = batch_id
        self._arrived = threading.Condition()
        self._newest: Snapshot | None = None
        self._revision = 0

    def put(self, snapshot: Snapshot, *, correct: bool = False) -> None:
        """Put the snapshot in if it is newer than the last one, or is to `correct` that."""
        with self._arrived:
            if correct or snapshot.revision > self._revision:
                self._newest, self._revision = snapshot, snapshot.revision
                self._arrived.notify()

    def take(self, timeout: float) -> Snapshot | None:
        """Take out the snapshot, waiting up to `timeout` seconds for one."""
        with self._arrived:
            if self._newest is None:
                self._arrived.wait(timeout)
            newest, self._newest = self._newest, None
            return newest


class Mailbag:
    """Room for one snapshot of each batch, the newest: one stream takes out all of them at once."""

    batch_id = None

    def __init__(self) -> None:
        self._arrived = threading.Condition()
        self._newest: dict[int, Snapshot] = {}
        self._has_end = False
        self._revisions: OrderedDict[int, int] = OrderedDict()

    def put(self, snapshot: Snapshot, *, correct: bool = False) -> None:
        """Put the snapshot in if it is newer than the last one of its batch, or corrects that."""
        batch_id = snapshot.batch_id
        with self._arrived:
            if correct or snapshot.revision > self._revisions.get(batch_id, 0):
                self._newest[batch_id] = snapshot
                self._has_end = self._has_end or snapshot.terminal
                remember(self._revisions, batch_id, snapshot.revision, MAX_TOLD)
                self._arrived.notify()

    def take(self, timeout: float) -> list[Snapshot]:
        """Take out all snapshots, waiting up to `timeout` seconds for one."""
        with self._arrived:
            if not self._newest:
                self._arrived.wait(timeout)
            newest, self._newest = self._newest, {}
            self._has_end = False
            return list(newest.values())

    def await_end(self, timeout: float) -> None:
        """Wait up to `timeout` seconds until the end of a batch is among the snapshots."""
        with self._arrived:
            self._arrived.wait_for(lambda: self._has_end, timeout)


class Hub:
    """Hands what is published to the mailboxes. Public methods but run_once() are for any thread.

    `rates` learns from every snapshot that comes by, whoever watches.
    """

    def __init__(self, doorbell: Doorbell, channel_prefix: str) -> None:
        self._doorbell = doorbell
        doorbell.probes.insert(0, self._try_to_subscribe)
        # A pattern's special characters in the prefix are to be meant literally.
        self._pattern = "".join(f"\\{c}" if c in "*?[]\\" else c for c in channel_prefix) + "*"
        self.rates = Rates()
        self._lock = threading.Lock()
        # By batch; under None those for all batches.
        self._mailboxes: defaultdict[int | None, set[Mailbox | Mailbag]] = defaultdict(set)
        # What somebody was told of a batch last, so that it shows in PostgreSQL what they missed.
        self._told: OrderedDict[int, Snapshot] = OrderedDict()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="hub", daemon=True)
        # Below: owned by the hub's thread.
        self._pubsub: Any = None
        self._next_refresh = 0.0

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """End the hub's thread; takes up to two seconds."""
        self._stopping.set()
        self._thread.join()

    def watch(self, batch_id: int) -> Mailbox:
        """A mailbox that gets every newer snapshot of this batch from now on."""
        mailbox = Mailbox(batch_id)
        with self._lock:
            self._mailboxes[batch_id].add(mailbox)
        return mailbox

    def watch_all(self) -> Mailbag:
        """A mailbag that gets every newer snapshot of any batch from now on."""
        mailbag = Mailbag()
        with self._lock:
            self._mailboxes[None].add(mailbag)
        return mailbag

    def unwatch(self, mailbox: Mailbox | Mailbag) -> None:
        """Stop filling this mailbox."""
        with self._lock:
            watching = self._mailboxes[mailbox.batch_id]
            watching.discard(mailbox)
            if not watching:
                del self._mailboxes[mailbox.batch_id]
            if not self._mailboxes:
                self._told.clear()

    def tell(self, snapshots: Iterable[Snapshot]) -> None:
        """Hand these out, too: what this process has read or done needs no Redis to be seen."""
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
        """Wait a while for a message and hand it out; refresh when that is due."""
        if self._doorbell.away:
            self._drop_subscription()
            self._stopping.wait(PROBE_SECONDS)
            self._doorbell.probe()
            self._next_refresh = 0.0
        else:
            self._doorbell.use(self._receive)
        if time.monotonic() >= self._next_refresh:
            self._refresh()
            self._doorbell.check()
            self._next_refresh = time.monotonic() + REFRESH_SECONDS

    def _receive(self) -> None:
        if self._pubsub is None:
            self._pubsub = self._doorbell.client.pubsub()  # type: ignore[no-untyped-call]
            self._pubsub.psubscribe(self._pattern)
        received = self._pubsub.get_message(timeout=RECEIVE_SECONDS)
        if received is None:
            return
        if received["type"] == "psubscribe":
            self._next_refresh = 0.0  # what was published before is lost to us
        elif received["type"] == "pmessage":
            self._hand_out(received)

    def _hand_out(self, received: dict[str, Any]) -> None:
        try:
            snapshot = parse(received["data"])
        except NOT_ONE as error:
            logger.warning(logs.line("not a snapshot", channel=received["channel"], error=error))
            return
        if snapshot.batch_id == publishing.NO_BATCH:
            return
        if self._is_doubtful(snapshot):
            self._ask_postgres(snapshot)
        else:
            self._deliver(snapshot)

    def _is_doubtful(self, snapshot: Snapshot) -> bool:
        """Whether streams would end by this message, or believe no later one: anybody may have
        written it who can write to Redis."""
        with self._lock:
            if self._mailboxes.keys().isdisjoint((snapshot.batch_id, None)):
                return False
            told = self._told.get(snapshot.batch_id)
        revision = told.revision if told else 0
        if snapshot.revision <= revision:
            return False
        return snapshot.terminal or snapshot.revision > revision + MAX_AHEAD

    def _ask_postgres(self, doubtful: Snapshot) -> None:
        """Tell what PostgreSQL knows instead; while it is away nothing, which a refresh mends."""
        try:
            with session():
                present = models.snapshots([doubtful.batch_id])
        except UNREACHABLE as error:
            logger.debug(logs.line("not confirmed", batch=doubtful.batch_id, error=error))
            return
        if not present and doubtful.status == DELETED:
            present = [doubtful]
        self.tell(present)

    def _deliver(self, snapshot: Snapshot, instead_of: Snapshot | None = None) -> None:
        """Put the snapshot into the mailboxes that watch its batch if it is newer than the last.

        `instead_of` is a last one that was wrong, and is replaced even by an older one.
        """
        batch_id = snapshot.batch_id
        self.rates.note(snapshot)
        with self._lock:
            told = self._told.get(batch_id)
            correct = told is not None and told is instead_of
            if told is not None and told.revision >= snapshot.revision and not correct:
                return  # who has come since has read what is no older
            watching = [*self._mailboxes.get(batch_id, ()), *self._mailboxes.get(None, ())]
            for mailbox in watching:
                mailbox.put(snapshot, correct=correct)
            if snapshot.status == DELETED:
                self._told.pop(batch_id, None)
            elif watching:
                remember(self._told, batch_id, snapshot, MAX_TOLD)

    def _refresh(self) -> None:
        with self._lock:
            all_watched = None in self._mailboxes
            watched = {batch_id for batch_id in self._mailboxes if batch_id is not None}
            told = {
                batch_id: snapshot
                for batch_id, snapshot in self._told.items()
                if all_watched or batch_id in watched
            }
        if not watched and not all_watched:
            return
        try:
            with session():
                present = models.snapshots([*(watched | told.keys())])
                newest = models.present_snapshots(NEWEST, UNFINISHED) if all_watched else []
        except UNREACHABLE as error:
            logger.debug(logs.line("refresh failed", error=error))
            return
        for snapshot in (*present, *newest):
            before = told.get(snapshot.batch_id)
            # What was published was committed before, so it would have been read, if it were true.
            wrong = before is not None and before.revision > snapshot.revision
            self._deliver(snapshot, instead_of=before if wrong else None)
        for batch_id in told.keys() - {snapshot.batch_id for snapshot in present}:
            last = told[batch_id]
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
