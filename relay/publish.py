"""Publishing snapshots, each as a message on the channel of its batch.

The revisions on a channel only grow, so that a batch's last message is its end. Apps and workers
publish by the same script, in which Redis compares the revisions.
"""

from __future__ import annotations

import json
import math
import threading
import time
from collections.abc import Callable

import redis

from models import DELETED, Snapshot
from processors.reasons import verdicts
from relay.batch_queue import BatchQueue
from relay.doorbell import Doorbell
from runtime.bounded import BoundedDict

# Least seconds between two snapshots of one batch that a worker publishes.
PUBLISH_SECONDS = 0.1
# Seconds for which Redis remembers the newest revision of a batch: longer than any process holds a
# snapshot back. If Redis forgets it sooner, an older message may follow a newer one.
REMEMBER_SECONDS = 600
# Batches whose newest revision each worker remembers as well, in case Redis is emptied.
MAX_REMEMBERED = 1000
# Locks under which a worker's threads publish in order; a batch's id selects one.
LOCKS = 64

# The id of no batch: a snapshot that says that it is deleted is published to probe Redis.
NO_BATCH = 0

# The errors that parse() raises for a message without a snapshot.
PARSE_ERRORS = (ValueError, KeyError, TypeError, AttributeError)

# KEYS: the key of the newest revision.
# ARGV: this revision, the seconds to keep it, the channel, the message.
_PUBLISH = """
local newest = tonumber(redis.call('GET', KEYS[1]) or '')
if newest and newest >= tonumber(ARGV[1]) then return end
redis.call('SET', KEYS[1], ARGV[1], 'EX', ARGV[2])
redis.call('PUBLISH', ARGV[3], ARGV[4])
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
            "waiting": snapshot.waiting,
            "nextAt": snapshot.next_at,
            "paused": snapshot.paused,
            "perMinute": snapshot.per_minute,
            "processor": snapshot.processor,
            "reasons": snapshot.reasons,
            "verdicts": verdicts(snapshot.processed, snapshot.failed, snapshot.reasons),
            **more,
        },
        separators=(",", ":"),
    )


def parse(data: str) -> Snapshot:
    """Return the snapshot in a message. Raises PARSE_ERRORS."""
    fields = json.loads(data)
    return Snapshot(
        batch_id=int(fields["batchId"]),
        revision=int(fields["revision"]),
        status=str(fields["status"]),
        processed=int(fields["processed"]),
        failed=int(fields["failed"]),
        total=int(fields["total"]),
        # Processes of earlier versions publish without these.
        waiting=int(fields.get("waiting", 0)),
        next_at=fields.get("nextAt"),
        paused=fields.get("paused"),
        per_minute=fields.get("perMinute"),
        processor=fields.get("processor"),
        reasons={str(code): int(number) for code, number in fields["reasons"].items()},
    )


def publish(
    doorbell: Doorbell,
    channel_prefix: str,
    snapshot: Snapshot,
    *,
    pipeline: redis.client.Pipeline | None = None,
) -> None:
    """Publish the snapshot, unless its revision or a newer one was published before.

    pipeline: collects the command, which is sent with others then.

    Raises redis.RedisError.
    """
    channel = f"{channel_prefix}{snapshot.batch_id}"
    arguments = snapshot.revision, REMEMBER_SECONDS, channel, message(snapshot)
    (pipeline or doorbell.client).eval(_PUBLISH, 1, _revision_key(doorbell, channel), *arguments)


def announce(
    doorbell: Doorbell, queue: BatchQueue, channel_prefix: str, snapshot: Snapshot
) -> None:
    """Publish a batch's snapshot; if the batch is unfinished, enqueue it first.

    While Redis is away, workers and hubs find the change in PostgreSQL.
    """

    def send() -> None:
        # In one message: to wait for an answer takes longer than the command itself.
        with doorbell.client.pipeline(transaction=False) as pipeline:
            if not snapshot.terminal:
                queue.enqueue(snapshot.processor, snapshot.batch_id, pipeline=pipeline)
            publish(doorbell, channel_prefix, snapshot, pipeline=pipeline)
            pipeline.execute()

    doorbell.use(send)


def _revision_key(doorbell: Doorbell, channel: str) -> str:
    return f"{doorbell.key}:revision:{channel}"


def try_out(doorbell: Doorbell, channel_prefix: str) -> None:
    """Publish that NO_BATCH is deleted, even if that was published before. Raises RedisError."""
    doorbell.client.unlink(_revision_key(doorbell, f"{channel_prefix}{NO_BATCH}"))
    publish(doorbell, channel_prefix, Snapshot(NO_BATCH, 1, DELETED, 0, 0, 0))


class Publisher:
    """Publishes the snapshots of all threads of a worker, ten a second of each batch at most.

    In between, the newest snapshot waits until a newer one replaces it or flush() publishes it.
    A batch's last snapshot never waits. `publish` must not raise: without Redis the app reads
    snapshots from PostgreSQL.
    """

    def __init__(self, publish: Callable[[Snapshot], object]) -> None:
        self._publish = publish
        self._lock = threading.Lock()
        self._order = [threading.Lock() for _ in range(LOCKS)]
        # By batch: the newest revision published.
        self._revisions = BoundedDict[int, int](MAX_REMEMBERED)
        # By batch: the time of the last publication (monotonic), and the snapshot that waits.
        self._last: dict[int, float] = {}
        self._waiting: dict[int, Snapshot] = {}

    def publish(self, snapshot: Snapshot, *, soon: bool = False) -> None:
        """Publish the snapshot if it is due, or else let it wait for flush().

        soon: let it wait in any case, because the batch may end in a few milliseconds. To publish
            the beginning of a small batch as well adds a twentieth to all that it costs.
        """
        batch_id, now = snapshot.batch_id, time.monotonic()
        with self._lock:
            waiting = self._waiting.pop(batch_id, None)
            if waiting is not None and waiting.revision > snapshot.revision:
                snapshot = waiting  # of another thread, which was faster
            if soon or not (snapshot.terminal or self._is_due(batch_id, now)):
                self._waiting[batch_id] = snapshot
                return
            if snapshot.terminal:
                self._last.pop(batch_id, None)
            else:
                self._last[batch_id] = now
        self._send(snapshot)

    def flush(self) -> None:
        """Publish the snapshots that are due. Call it several times a second."""
        now = time.monotonic()
        with self._lock:
            due = [
                self._waiting.pop(batch_id)
                for batch_id in [*self._waiting]
                if self._is_due(batch_id, now)
            ]
            recent = {each: at for each, at in self._last.items() if not self._is_due(each, now)}
            self._last = recent | {snapshot.batch_id: now for snapshot in due}
        for snapshot in due:
            self._send(snapshot)

    def _is_due(self, batch_id: int, now: float) -> bool:
        # The clock may begin with the machine, so that 0 may be a moment ago.
        return now >= self._last.get(batch_id, -math.inf) + PUBLISH_SECONDS

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
