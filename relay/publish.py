"""Publishing snapshots: each is a message on the channel of its batch.

The revisions on a channel only grow, so that a batch's last message is its end. All threads,
workers and apps publish by the script below, in which Redis compares the revisions.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable

from models import DELETED, Snapshot
from processors.reasons import verdicts
from relay.doorbell import Doorbell
from runtime.bounded import BoundedDict

# Least seconds between two snapshots of one batch that a worker publishes.
PUBLISH_SECONDS = 0.1
# Seconds for which Redis remembers the newest revision of a batch: longer than anybody holds a
# snapshot back. If Redis forgets it sooner, an older message may follow a newer one.
REMEMBER_SECONDS = 600
# Batches whose newest revision each worker remembers as well, in case Redis forgets.
MAX_REMEMBERED = 1000
# Locks under which the threads of a worker publish in order; a batch's id says which is its own.
LOCKS = 64

# An id that no batch has. To probe Redis, a snapshot is published that says that it was deleted.
NO_BATCH = 0

# The errors that parse() raises for a message that holds no snapshot.
NOT_ONE = (ValueError, KeyError, TypeError, AttributeError)

# KEYS: where the newest revision is kept. ARGV: the revision, the seconds to keep it, the channel,
# the message.
_PUBLISH = """
local newest = tonumber(redis.call('GET', KEYS[1]) or '')
if newest and newest >= tonumber(ARGV[1]) then return 0 end
redis.call('SET', KEYS[1], ARGV[1], 'EX', ARGV[2])
redis.call('PUBLISH', ARGV[3], ARGV[4])
return 1
"""


def message(snapshot: Snapshot, **more: object) -> str:
    """Return the snapshot as a message; streams add `more` fields."""
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


def parse(data: str) -> Snapshot:
    """The snapshot in a message. Raises NOT_ONE if it holds none."""
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


def publish(doorbell: Doorbell, channel_prefix: str, snapshot: Snapshot) -> None:
    """Publish on the batch's channel, unless this revision or a newer one was published there.

    Raises redis.RedisError.
    """
    channel = f"{channel_prefix}{snapshot.batch_id}"
    doorbell.client.register_script(_PUBLISH)(
        keys=[_revision_key(doorbell, channel)],
        args=[snapshot.revision, REMEMBER_SECONDS, channel, message(snapshot)],
    )


def _revision_key(doorbell: Doorbell, channel: str) -> str:
    return f"{doorbell.key}:revision:{channel}"


def try_out(doorbell: Doorbell, channel_prefix: str) -> None:
    """Publish that NO_BATCH is deleted, even if that was published before. Raises RedisError."""
    doorbell.client.unlink(_revision_key(doorbell, f"{channel_prefix}{NO_BATCH}"))
    publish(doorbell, channel_prefix, Snapshot(NO_BATCH, 1, DELETED, 0, 0, 0))


class Publisher:
    """Publishes the snapshots of all threads of a worker, for a batch ten a second at most.

    In between, the newest snapshot waits until a newer one replaces it or flush() publishes it.
    The first of a batch and the last never wait. `publish` must not raise: without Redis the app
    reads snapshots from PostgreSQL.
    """

    def __init__(self, publish: Callable[[Snapshot], object]) -> None:
        self._publish = publish
        self._lock = threading.Lock()
        self._order = [threading.Lock() for _ in range(LOCKS)]
        # The newest revision published, by batch.
        self._revisions = BoundedDict[int, int](MAX_REMEMBERED)
        # By batch: when it was published last (monotonic), and the snapshot that waits.
        self._last: dict[int, float] = {}
        self._waiting: dict[int, Snapshot] = {}

    def publish(self, snapshot: Snapshot) -> None:
        """Publish the snapshot now, or let it wait for flush()."""
        batch_id, now = snapshot.batch_id, time.monotonic()
        with self._lock:
            waiting = self._waiting.pop(batch_id, None)
            if waiting is not None and waiting.revision > snapshot.revision:
                snapshot = waiting  # another thread's, which was faster
            due = now >= self._last.get(batch_id, 0.0) + PUBLISH_SECONDS
            if not (due or snapshot.terminal):
                self._waiting[batch_id] = snapshot
                return
            if snapshot.terminal:
                self._last.pop(batch_id, None)
            else:
                self._last[batch_id] = now
        self._send(snapshot)

    def flush(self) -> None:
        """Publish the snapshots that waited long enough. To be called several times a second."""
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
            self._send(snapshot)

    def _send(self, snapshot: Snapshot) -> None:
        # The lock is held while Redis answers, so that an older snapshot can't be published after a
        # newer one. Threads wait for it only with snapshots that are due: ten a second of a batch.
        batch_id = snapshot.batch_id
        with self._order[batch_id % LOCKS]:
            with self._lock:
                if snapshot.revision <= self._revisions.get(batch_id, 0):
                    return
                self._revisions[batch_id] = snapshot.revision
            self._publish(snapshot)
