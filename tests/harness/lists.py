"""The list of the default processor, for tests of installations that have no other."""

from __future__ import annotations

from relay.batch_queue import BatchQueue


class DefaultList:
    """A BatchQueue's list of ids for the default processor."""

    def __init__(self, queue: BatchQueue, default: str) -> None:
        self._queue = queue
        self._default = default

    def enqueue(self, *batch_ids: int) -> None:
        self._queue.enqueue(None, *batch_ids)

    def dequeue(self, timeout: float) -> int | None:
        found = self._queue.dequeue(timeout, [self._default])
        return found and found[1]

    def depth(self) -> int:
        return self._queue.depth(self._default)

    def clear(self) -> None:
        self._queue.clear(self._default)
