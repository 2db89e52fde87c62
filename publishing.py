"""What is published of a batch: a message for each snapshot, on the batch's channel.

On a channel revisions only grow, so that the end of a batch is the last that is heard of it. All
threads, workers and apps publish by the script below, in which Redis compares.
"""

from __future__ import annotations

import json
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import TypeVar

from doorbell import Doorbell
from models import DELETED, Snapshot
from processors.reasons import verdicts

# Seconds between two snapshots that a worker publishes of a batch.
PUBLISH_SECONDS = 0.1
# Seconds for which Redis remembers what was published of a batch last: for longer than anybody
# holds a snapshot back. When it is forgotten sooner, an older message may follow a newer one.
REMEMBER_SECONDS = 600
# Batches of which a worker remembers it, for a Redis that forgets.
MAX_REMEMBERED = 1000
# Locks that keep the threads of a worker in order; batches share them by their ids.
LOCKS = 64

T = TypeVar("T")

# The id that no batch has; it is deleted on its channel when somebody tries Redis out.
NO_BATCH = 0

# What comes of reading a message that holds no snapshot.
NOT_ONE = (ValueError, KeyError, TypeError, AttributeError)

# KEYS: the newest revision. ARGV: the revision, seconds to remember it, the channel, the message.
_PUBLISH = """
local newest = tonumber(redis.call('GET', KEYS[1]) or '')
if newest and newest >= tonumber(ARGV[1]) then return 0 end
redis.call('SET', KEYS[1], ARGV[1], 'EX', ARGV[2])
redis.call('PUBLISH', ARGV[3], ARGV[4])
return 1
"""


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
    """Publish on the batch's channel, unless that has heard of this revision or a newer one.

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
    """Publish that NO_BATCH is deleted, once more. Raises redis.RedisError."""
    doorbell.client.unlink(_revision_key(doorbell, f"{channel_prefix}{NO_BATCH}"))
    publish(doorbell, channel_prefix, Snapshot(NO_BATCH, 1, DELETED, 0, 0, 0))


def remember(known: OrderedDict[int, T], batch_id: int, what: T, most: int) -> None:
    """Note what is known of the batch; beyond `most`, forget that which was noted first."""
    known[batch_id] = what
    known.move_to_end(batch_id)
    if len(known) > most:
        known.popitem(last=False)


class Publisher:
    """Publishes what all threads of a worker do, of each batch some ten times a second at most.

    Between two times the newest snapshot waits, until a newer one, or flush(), takes it along. The
    first of a batch and the last never wait. `publish` must not raise: without Redis the app reads
    snapshots from PostgreSQL.
    """

    def __init__(self, publish: Callable[[Snapshot], object]) -> None:
        self._publish = publish
        self._lock = threading.Lock()
        self._order = [threading.Lock() for _ in range(LOCKS)]
        # The newest revision published, by batch.
        self._revisions: OrderedDict[int, int] = OrderedDict()
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
        self._send(snapshot)

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
            self._send(snapshot)

    def _send(self, snapshot: Snapshot) -> None:
        # The lock is held while Redis is asked, so that no older snapshot overtakes. Only threads
        # whose snapshots are due wait for it, which is ten times a second of a batch.
        batch_id = snapshot.batch_id
        with self._order[batch_id % LOCKS]:
            with self._lock:
                if snapshot.revision <= self._revisions.get(batch_id, 0):
                    return
                remember(self._revisions, batch_id, snapshot.revision, MAX_REMEMBERED)
            self._publish(snapshot)
