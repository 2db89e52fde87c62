"""Trials of every Redis command that apps and workers use, on keys that nobody reads.

A Redis user may lack the permission for some commands, and some hosts forbid or rename others.
"""

from __future__ import annotations

from relay import presence, publish
from relay.batch_queue import BatchQueue
from relay.doorbell import Doorbell

# Seconds to wait for the trial's id, which another process's trial may have taken.
DEQUEUE_SECONDS = 0.1


def prepare(doorbell: Doorbell, channel_prefix: str) -> None:
    """Add all trials and probes to the doorbell."""
    doorbell.trials += [lambda: _try_list(doorbell), lambda: _try_presence(doorbell)]
    doorbell.probes.append(lambda: publish.try_out(doorbell, channel_prefix))


def _try_list(doorbell: Doorbell) -> None:
    one, other = "one", "other"
    queue = BatchQueue(doorbell.client, f"{doorbell.key}:probe:list", one, counted=False)
    queue.enqueue(one, 1, 2)
    queue.enqueue(one, 1)
    queue.dequeue(DEQUEUE_SECONDS, [other, one])
    queue.depth(one, other)
    queue.clear(one)


def _try_presence(doorbell: Doorbell) -> None:
    key = f"{doorbell.key}:probe"
    worker = presence.Presence(doorbell.client, key)
    worker.announce([], 0.0)
    presence.workers(doorbell.client, key)
    worker.withdraw()
