"""What app and workers ask of Redis, tried out on keys that mean nothing to anybody.

Each user of Redis may be allowed other commands, and each version and host forbids or renames some.
"""

from __future__ import annotations

import presence
import publishing
from batchqueue import BatchQueue
from doorbell import Doorbell

# Seconds to wait for an id that another process, at its own trial, has taken.
DEQUEUE_SECONDS = 0.1


def prepare(doorbell: Doorbell, channel_prefix: str) -> None:
    """Let the doorbell try all of it."""
    doorbell.trials += [lambda: _try_list(doorbell), lambda: _try_presence(doorbell)]
    doorbell.probes.append(lambda: publishing.try_out(doorbell, channel_prefix))


def _try_list(doorbell: Doorbell) -> None:
    queue = BatchQueue(doorbell.client, f"{doorbell.key}:probe:list", counted=False)
    queue.enqueue(1, 2)
    queue.enqueue(1)
    queue.dequeue(DEQUEUE_SECONDS)
    queue.depth()
    queue.clear()


def _try_presence(doorbell: Doorbell) -> None:
    key = f"{doorbell.key}:probe"
    worker = presence.Presence(doorbell.client, key)
    worker.announce([], 0.0)
    presence.workers(doorbell.client, key)
    worker.withdraw()
