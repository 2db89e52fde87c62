"""Redis as app and worker use it: rung while it works, and left alone while it doesn't.

Nothing depends on Redis, so nobody waits for it twice: the first failed call of a process makes
Redis count as away, and until a probe has seen it take a write again no call is even tried.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TypeVar

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

import logs

# Seconds that a call may wait for Redis to connect or to answer, beside a wait it asked for.
REDIS_TIMEOUT = 3.0
# Seconds between two probes of a Redis that is away.
PROBE_SECONDS = 1.0

T = TypeVar("T")

logger = logging.getLogger("doorbell")


class Doorbell:
    """The Redis at `url`, for all threads of a process; nothing is sent before it is used."""

    def __init__(self, url: str, key: str) -> None:
        self.client = redis.Redis.from_url(
            url,
            socket_timeout=REDIS_TIMEOUT,
            socket_connect_timeout=REDIS_TIMEOUT,
            # For a connection that the other side closed while it was idle. What waited in vain
            # once is not worth another wait.
            retry=Retry(NoBackoff(), 1, supported_errors=(redis.ConnectionError,)),
            decode_responses=True,
        )
        self.key = key
        self._outage = logs.Outage("redis", logger)

    @property
    def away(self) -> bool:
        """True from a failed call to the next probe that goes well."""
        return self._outage.lasting

    def use(self, call: Callable[[], T]) -> T | None:
        """What `call` returns; None, without calling or after it failed, while Redis is away."""
        if self.away:
            return None
        try:
            return call()
        except redis.RedisError as error:
            self._outage.begin(error)
            return None

    def probe(self) -> None:
        """If Redis is away, try whether it is back.

        It must take a write: out of memory or without a disk, Redis answers and takes none.
        """
        if not self.away:
            return
        try:
            self.client.set(f"{self.key}:probe", "", ex=10)
        except redis.RedisError:
            return
        self._outage.end()

    def close(self) -> None:
        """Close the connections."""
        self.client.close()
