"""The Redis lists of batch ids that tell workers where there is work: one of each processor.

An id that is lost, doubled or stale does no harm: PostgreSQL has the state of every batch.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import redis

from models import MAX_ID
from runtime import logs, metrics

# All scripts are sent whole each time, by EVAL. redis-py's way to send a script's hash would ask
# Redis before each pipeline whether it knows the script, and need further commands.
#
# A batch is in its list once at most, so that it gets one turn a round, however often it is
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
    """The lists: under `key` that of the processor `default`, under `key:name` those of others.

    A processor is named as by batches: None is the one named `unnamed`.
    Every method raises redis.RedisError when Redis fails.
    """

    def __init__(
        self,
        client: redis.Redis,
        key: str,
        default: str,
        unnamed: str = "",
        *,
        counted: bool = True,
    ) -> None:
        """`unnamed` is the default one if it is left out.

        `counted` is whether the metrics count the ids that are enqueued.
        """
        self._client = client
        self._counted = counted
        self._key = key
        self._default = default
        self._unnamed = unnamed or default
        self._nonsense = logs.RateLimited(logger)

    def enqueue(
        self, processor: str | None, *batch_ids: int, pipeline: redis.client.Pipeline | None = None
    ) -> None:
        """Add the ids that are not in the processor's list.

        pipeline: collects the command, which is sent with others then.
        """
        if batch_ids:
            if self._counted:
                metrics.RINGS.inc(len(batch_ids))
            (pipeline or self._client).eval(_ENQUEUE, 1, self._list(processor), *batch_ids)

    def dequeue(self, timeout: float, processors: Sequence[str]) -> tuple[str, int] | None:
        """Remove an id, and return it with the name of its list's processor.

        It is the id that has waited longest in the first list, in the order of `processors`, that
        has any. Returns None after `timeout` seconds without one, and also, after logging it, for
        an entry that is no id.
        """
        lists = {self._list(name): name for name in processors}
        popped: Any = self._client.brpop([*lists], timeout=timeout)
        if popped is None:
            return None
        key, value = popped
        if _ID.fullmatch(value) and 1 <= int(value) <= MAX_ID:
            return lists[key], int(value)
        self._nonsense.warning("not a batch id", queue=key, value=value[:80])
        return None

    def depth(self, *processors: str) -> int:
        """Return the number of ids in the lists of these processors."""
        depths: list[Any] = [self._client.llen(self._list(name)) for name in processors]
        return sum(depths)

    def clear(self, processor: str) -> None:
        """Empty the processor's list; the caller then enqueues all its unfinished batches."""
        self._client.unlink(self._list(processor))

    def _list(self, processor: str | None) -> str:
        """Return the key of the processor's list."""
        name = processor or self._unnamed
        return self._key if name == self._default else f"{self._key}:{name}"
