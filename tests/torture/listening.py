"""Somebody who hears what is published of all batches, and knows only the contract."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Callable

import redis

import models
from torture.audit import Faults

CHANNELS = "batch:status:*"
# Seconds: the longest wait for a message, and until the next attempt to subscribe.
WAIT, AGAIN = 0.5, 0.1


class Listening:
    """Finds messages that are no newer than the one before of their batch, and any after its end.

    A cancelled batch may have further messages, because emails that were under way are counted
    after its end.

    A Redis that was emptied has forgotten what was newest; `times_emptied` says how often it was.
    After forget(), batches that had ended may go on.
    """

    def __init__(self, client: redis.Redis, faults: Faults, times_emptied: Callable[[], int]):
        self._client = client
        self._faults = faults
        self._times_emptied = times_emptied
        self._emptied = 0
        self._forgotten = 0
        self._heard: dict[int, tuple[int, str]] = {}
        self.messages = 0

    def run(self, stopping: threading.Event) -> None:
        """Listen until `stopping`: a thread's work."""
        while not stopping.wait(AGAIN):
            # It was killed, which empties it, or only this connection was cut.
            with contextlib.suppress(redis.RedisError), self._client.pubsub() as pubsub:
                pubsub.psubscribe(CHANNELS)
                while not stopping.is_set():
                    received = pubsub.get_message(timeout=WAIT)
                    if received is not None and received["type"] == "pmessage":
                        self._hear(json.loads(received["data"]))
        self._client.close()

    def forget(self) -> None:
        """Take the next message of each batch for its first."""
        self._forgotten += 1

    def _hear(self, told: dict[str, object]) -> None:
        emptied = self._times_emptied() + self._forgotten
        if self._emptied != emptied:
            self._emptied = emptied
            self._heard.clear()
        batch_id, revision, status = told["batchId"], told["revision"], str(told["status"])
        assert isinstance(batch_id, int)
        assert isinstance(revision, int)
        if batch_id == 0:
            return  # somebody tries Redis out
        self.messages += 1
        before, last = self._heard.get(batch_id, (0, ""))
        counted = last == "cancelled" and status in ("cancelled", "completed")
        if revision <= before or (last in models.TERMINAL and not counted):
            self._faults.add(
                f"of batch {batch_id}, {revision} {status} was published after {before} {last}"
            )
        self._heard[batch_id] = revision, status
