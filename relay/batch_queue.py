"""The Redis list of batch ids: a doorbell for the workers, and no more than that.

An id that is lost, doubled or stale does no harm, because what is to be done stands in PostgreSQL.
"""

from __future__ import annotations

import re
from typing import Any

import redis

from models import MAX_ID
from runtime import logs, metrics

# A batch stands in the list at most once, so that it gets one turn a round however often it is
# rung for. New ids go in at the left and are taken from the right: first in, first out.
_ENQUEUE = """
local rung = 0
local listed = nil
if #ARGV > 1 then
  listed = {}
  for _, id in ipairs(redis.call('LRANGE', KEYS[1], 0, -1)) do listed[id] = true end
end
for _, id in ipairs(ARGV) do
  local waits
  if listed then waits = listed[id] else waits = redis.call('LPOS', KEYS[1], id) end
  if not waits then rung = redis.call('LPUSH', KEYS[1], id) end
end
return rung
"""

_ID = re.compile(r"[0-9]{1,19}")

logger = logs.Logger("batchqueue")


class BatchQueue:
    """The list under `key`. Every method raises redis.RedisError when Redis is out of reach."""

    def __init__(self, client: redis.Redis, key: str, *, counted: bool = True) -> None:
        """`counted` is whether its rings are among the metrics."""
        self._client = client
        self._counted = counted
        self._key = key
        self._enqueue = client.register_script(_ENQUEUE)
        self._nonsense = logs.RateLimited(logger)

    def enqueue(self, *batch_ids: int) -> None:
        """Ring for these batches, unless somebody has and no worker has come yet."""
        if batch_ids:
            if self._counted:
                metrics.RINGS.inc(len(batch_ids))
            self._enqueue(keys=[self._key], args=list(batch_ids))

    def dequeue(self, timeout: float) -> int | None:
        """The id that has waited longest; None if there is none within `timeout` seconds.

        What is no id is taken off the list, logged and skipped.
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
        """How many ids wait."""
        depth: Any = self._client.llen(self._key)
        return int(depth)

    def clear(self) -> None:
        """Take everything off the list; the caller then rings for all that is unfinished."""
        self._client.unlink(self._key)
