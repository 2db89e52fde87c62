"""The Redis list of batch ids that tells workers where there is work.

An id that is lost, doubled or stale does no harm: PostgreSQL has the state of every batch.
"""

from __future__ import annotations

import re
from typing import Any

import redis

from models import MAX_ID
from runtime import logs, metrics

# A batch is in the list once at most, so that it gets one turn a round, however often it is
# enqueued. Ids go in at the left and are taken from the right: first in, first out.
_ENQUEUE = """
local listed = nil
if #ARGV > 1 then
  listed = {}
  for _, id in ipairs(redis.call('LRANGE', KEYS[1], 0, -1)) do listed[id] = true end
end
for _, id in ipairs(ARGV) do
  local waits
  if listed then waits = listed[id] else waits = redis.call('LPOS', KEYS[1], id) end
  if not waits then redis.call('LPUSH', KEYS[1], id) end
end
"""

_ID = re.compile(r"[0-9]{1,19}")

logger = logs.Logger("batch_queue")


class BatchQueue:
    """The list under `key`. Every method raises redis.RedisError when Redis fails."""

    def __init__(self, client: redis.Redis, key: str, *, counted: bool = True) -> None:
        """`counted` is whether the metrics count the ids that are enqueued."""
        self._client = client
        self._counted = counted
        self._key = key
        self._enqueue = client.register_script(_ENQUEUE)
        self._nonsense = logs.RateLimited(logger)

    def enqueue(self, *batch_ids: int) -> None:
        """Add the ids that are not in the list."""
        if batch_ids:
            if self._counted:
                metrics.RINGS.inc(len(batch_ids))
            self._enqueue(keys=[self._key], args=list(batch_ids))

    def dequeue(self, timeout: float) -> int | None:
        """Remove and return the id that has waited longest; None after `timeout` seconds without.

        If that entry is no id, log it and return None.
        """
        popped: Any = self._client.brpop([self._key], timeout=timeout)
        if popped is None:
            return None
        value = popped[1]
        if _ID.fullmatch(value) and 1 <= int(value) <= MAX_ID:
            return int(value)
        self._nonsense.warning("not a batch id", queue=self._key, value=value[:80])
        return None

    def depth(self) -> int:
        """Return the number of ids in the list."""
        depth: Any = self._client.llen(self._key)
        return int(depth)

    def clear(self) -> None:
        """Empty the list; the caller then enqueues all unfinished batches."""
        self._client.unlink(self._key)
