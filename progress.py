"""Progress from the workers to the browsers: publishing, and the hub that feeds the streams.

The hub has the app's only subscription. Each stream watches one batch through a mailbox with room
for one snapshot, because only the newest matters; a slow browser costs nobody anything. What
Pub/Sub loses (it keeps nothing for who isn't listening) the hub makes up for by reading from
PostgreSQL what the streams watch: every second while Redis is away, rarely otherwise. It also
probes for the whole process whether a Redis that was away is back.
"""

from __future__ import annotations

import json
import logging
import threading
import time
from collections import defaultdict
from typing import Any

import redis

import logs
import models
from database import UNREACHABLE, session
from doorbell import PROBE_SECONDS, Doorbell
from models import Snapshot
from processors.reasons import verdicts

# Seconds between two readings of the watched batches while Redis is there; while it is away, they
# are read as often as it is probed.
REFRESH_SECONDS = 5.0
# Seconds that the hub waits for a message before it looks at anything else.
RECEIVE_SECONDS = 1.0

# What comes of reading a message that holds no snapshot.
_NOT_ONE = (ValueError, KeyError, TypeError, AttributeError)

logger = logging.getLogger("progress")


def message(snapshot: Snapshot) -> str:
    """The snapshot as it is published and streamed."""
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


class Hub:
    """Hands what is published to the mailboxes. watch() and unwatch() are for any thread."""

    def __init__(self, doorbell: Doorbell, channel_prefix: str) -> None:
        self._doorbell = doorbell
        # A pattern's special characters in the prefix are to be meant literally.
        self._pattern = "".join(f"\\{c}" if c in "*?[]\\" else c for c in channel_prefix) + "*"
        self._lock = threading.Lock()
        self._mailboxes: defaultdict[int, set[Mailbox]] = defaultdict(set)
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

    def unwatch(self, mailbox: Mailbox) -> None:
        """Stop filling this mailbox."""
        with self._lock:
            watching = self._mailboxes[mailbox.batch_id]
            watching.discard(mailbox)
            if not watching:
                del self._mailboxes[mailbox.batch_id]

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
        with self._lock:
            for mailbox in self._mailboxes.get(snapshot.batch_id, ()):
                mailbox.put(snapshot)

    def _refresh(self) -> None:
        with self._lock:
            watched = list(self._mailboxes)
        if not watched:
            return
        try:
            with session():
                present = models.snapshots(watched)
        except UNREACHABLE as error:
            logger.debug(logs.line("refresh failed", error=error))
            return
        for snapshot in present:
            self._deliver(snapshot)

    def _drop_subscription(self) -> None:
        if self._pubsub is not None:
            pubsub, self._pubsub = self._pubsub, None
            try:
                pubsub.close()
            except redis.RedisError:
                logger.debug("closing a broken subscription", exc_info=True)
