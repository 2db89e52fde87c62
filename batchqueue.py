"""The Redis list of batch ids: a doorbell for the workers, and no more than that.

An id that is lost, doubled or stale does no harm, because what is to be done stands in PostgreSQL.
"""

from __future__ import annotations

import logging
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

import logs

# Seconds that a call may wait for Redis to connect or to answer, beside a wait it asked for.
REDIS_TIMEOUT = 3.0

# A batch stands in the list at most once, so that it gets one turn a round however often it is
# rung for. New ids go in at the left and are taken from the right: first in, first out.
_ENQUEUE = """
if redis.call('LPOS', KEYS[1], ARGV[1]) then return 0 end
return redis.call('LPUSH', KEYS[1], ARGV[1])
"""

logger = logging.getLogger("batchqueue")


def connect(url: str) -> redis.Redis:
    """A client of the Redis at `url`; nothing is sent yet. Calls raise redis.RedisError."""
    return redis.Redis.from_url(
        url,
        socket_timeout=REDIS_TIMEOUT,
        socket_connect_timeout=REDIS_TIMEOUT,
        # Our callers know what to do without Redis, so that failing at once is best; one retry
        # is for a connection that the other side closed while it was idle.
        retry=Retry(NoBackoff(), 1),
        decode_responses=True,
    )


class BatchQueue:
    """The list under `key`. Every method raises redis.RedisError when Redis is out of reach."""

    def __init__(self, client: redis.Redis, key: str) -> None:
        self._client = client
        self._key = key
        self._enqueue = client.register_script(_ENQUEUE)

    def enqueue(self, batch_id: int) -> None:
        """Ring for a batch, unless somebody has and no worker has come yet."""
        self._enqueue(keys=[self._key], args=[batch_id])

    def dequeue(self, timeout: float) -> int | None:
        """The id that has waited longest; None if there is none within `timeout` seconds.

        What is no id is taken off the list, logged and skipped.
        """
        popped: Any = self._client.brpop([self._key], timeout=timeout)
        if popped is None:
            return None
        try:
            return int(popped[1])
        except ValueError:
            logger.warning(logs.line("not a batch id", queue=self._key, value=popped[1][:80]))
            return None

    def depth(self) -> int:
        """How many ids wait."""
        depth: Any = self._client.llen(self._key)
        return int(depth)
