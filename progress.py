"""Progress from the workers to the browsers: publishing, and the hub that feeds the streams.

The hub has the app's only subscription. Each stream watches one batch through a mailbox with room
for one snapshot, or all batches through a mailbag with room for one of each, because only the
newest matters; a slow browser costs nobody anything. What Pub/Sub loses (it keeps nothing for who
isn't listening) the hub makes up for by reading from PostgreSQL what the streams watch: every
second while Redis is away, rarely otherwise. It also probes for the whole process whether a Redis
that was away is back.
"""

from __future__ import annotations

import json
import logging
import threading
import time
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any, TypeVar

import redis

import logs
import models
from batchqueue import BatchQueue
from database import UNREACHABLE, session
from doorbell import PROBE_SECONDS, Doorbell
from models import DELETED, Snapshot
from processors.reasons import verdicts
from rates import Rates

# Seconds between two readings of the watched batches while Redis is there; while it is away, they
# are read as often as it is probed.
REFRESH_SECONDS = 5.0
# Seconds between two snapshots that a worker publishes of a batch.
PUBLISH_SECONDS = 0.1
# Seconds that the hub waits for a message before it looks at anything else.
RECEIVE_SECONDS = 1.0
# What who watches all batches is told of at first, and again when something may be missed: so many
# of the newest batches, and so many unfinished ones.
NEWEST, UNFINISHED = 20, 1000
# Batches of which it is remembered what was told of them last.
MAX_TOLD = 3 * UNFINISHED

T = TypeVar("T")

# What comes of reading a message that holds no snapshot.
_NOT_ONE = (ValueError, KeyError, TypeError, AttributeError)

logger = logging.getLogger("progress")


def message(snapshot: Snapshot, **more: object) -> str:
    """The snapshot as it is published; streams say `more` of it."""
    return json.dumps(
        {
            "batchId": snapshot.batch_id,
            "revision": snapshot.revision,
            "status": snapshot.status,
            "processed": snapshot.processed,
            "failed": snapshot.failed,
            "total": snapshot.total,
            "reasons": snapshot.reasons,
            "verdicts": verdicts(snapshot.processed, snapshot.failed, snapshot.reasons),
            **more,
        },
        separators=(",", ":"),
    )


def _parse(data: str) -> Snapshot:
    """The snapshot in a message. Raises _NOT_ONE if it holds none."""
    fields = json.loads(data)
    return Snapshot(
        batch_id=int(fields["batchId"]),
        revision=int(fields["revision"]),
        status=str(fields["status"]),
        processed=int(fields["processed"]),
        failed=int(fields["failed"]),
        total=int(fields["total"]),
        reasons={str(code): int(number) for code, number in fields["reasons"].items()},
    )


def publish(client: redis.Redis, channel_prefix: str, snapshot: Snapshot) -> None:
    """Publish on the batch's channel. Raises redis.RedisError."""
    client.publish(f"{channel_prefix}{snapshot.batch_id}", message(snapshot))


def announce(
    doorbell: Doorbell, queue: BatchQueue, channel_prefix: str, snapshot: Snapshot
) -> None:
    """Tell workers and pages what was done to a batch: ring, if there is work, and publish.

    Without Redis both find out by themselves.
    """
    if not snapshot.terminal:
        doorbell.use(lambda: queue.enqueue(snapshot.batch_id))
    doorbell.use(lambda: publish(doorbell.client, channel_prefix, snapshot))


class Publisher:
    """Publishes what all threads of a worker do, of each batch some ten times a second at most.

    Between two times the newest snapshot waits, until a newer one, or flush(), takes it along. The
    first of a batch and the last never wait. `publish` must not raise: without Redis the app reads
    snapshots from PostgreSQL.
    """

    def __init__(self, publish: Callable[[Snapshot], object]) -> None:
        self._publish = publish
        self._lock = threading.Lock()
        # By batch: when it was published last (monotonic), and what waits.
        self._last: dict[int, float] = {}
        self._waiting: dict[int, Snapshot] = {}

    def publish(self, snapshot: Snapshot) -> None:
        """Publish, now or soon."""
        batch_id, now = snapshot.batch_id, time.monotonic()
        with self._lock:
            due = now >= self._last.get(batch_id, 0.0) + PUBLISH_SECONDS
            if not (due or snapshot.terminal):
                waiting = self._waiting.get(batch_id)
                if waiting is None or waiting.revision < snapshot.revision:
                    self._waiting[batch_id] = snapshot
                return
            self._waiting.pop(batch_id, None)
            if snapshot.terminal:
                self._last.pop(batch_id, None)
            else:
                self._last[batch_id] = now
        self._publish(snapshot)

    def flush(self) -> None:
        """Publish what has waited long enough. To be called several times a second."""
        now = time.monotonic()
        with self._lock:
            self._last = {
                batch_id: last
                for batch_id, last in self._last.items()
                if batch_id in self._waiting or now < last + PUBLISH_SECONDS
            }
            due = [
                self._waiting.pop(batch_id)
                for batch_id in [*self._waiting]
                if now >= self._last.get(batch_id, 0.0) + PUBLISH_SECONDS
            ]
            self._last |= {snapshot.batch_id: now for snapshot in due}
        for snapshot in due:
            self._publish(snapshot)


class Mailbox:
    """Room for one snapshot, the newest: the hub puts it in, one stream takes it out."""

    def __init__(self, batch_id: int) -> None:
        self.batch_id = batch_id
        self._arrived = threading.Condition()
        self._newest: Snapshot | None = None
        self._revision = 0

    def put(self, snapshot: Snapshot) -> None:
        """Put in the snapshot unless it is no newer than what was here before."""
        with self._arrived:
            if snapshot.revision > self._revision:
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

    def put(self, snapshot: Snapshot) -> None:
        """Put in the snapshot unless it is no newer than what was here of its batch before."""
        batch_id = snapshot.batch_id
        with self._arrived:
            if snapshot.revision > self._revisions.get(batch_id, 0):
                self._newest[batch_id] = snapshot
                self._has_end = self._has_end or snapshot.terminal
                _remember(self._revisions, batch_id, snapshot.revision)
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


def _remember(told: OrderedDict[int, T], batch_id: int, what: T) -> None:
    told[batch_id] = what
    told.move_to_end(batch_id)
    if len(told) > MAX_TOLD:
        told.popitem(last=False)


class Hub:
    """Hands what is published to the mailboxes. Public methods but run_once() are for any thread.

    `rates` learns from every snapshot that comes by, whoever watches.
    """

    def __init__(self, doorbell: Doorbell, channel_prefix: str) -> None:
        self._doorbell = doorbell
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
            self._deliver(_parse(received["data"]))
        except _NOT_ONE as error:
            logger.warning(logs.line("not a snapshot", channel=received["channel"], error=error))

    def _deliver(self, snapshot: Snapshot) -> None:
        batch_id = snapshot.batch_id
        self.rates.note(snapshot)
        with self._lock:
            told = self._told.get(batch_id)
            if told is not None and told.revision >= snapshot.revision:
                return  # who has come since has read what is no older
            watching = [*self._mailboxes.get(batch_id, ()), *self._mailboxes.get(None, ())]
            for mailbox in watching:
                mailbox.put(snapshot)
            if snapshot.status == DELETED:
                self._told.pop(batch_id, None)
            elif watching:
                _remember(self._told, batch_id, snapshot)

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
        self.tell([*present, *newest])
        for batch_id in told.keys() - {snapshot.batch_id for snapshot in present}:
            last = told[batch_id]
            self._deliver(replace(last, status=DELETED, revision=last.revision + 1))

    def _drop_subscription(self) -> None:
        if self._pubsub is not None:
            pubsub, self._pubsub = self._pubsub, None
            try:
                pubsub.close()
            except redis.RedisError:
                logger.debug("closing a broken subscription", exc_info=True)
