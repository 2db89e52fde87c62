"""Redis as app and worker use it: rung while it works, and left alone while it doesn't.

Nothing depends on Redis, so nobody waits for it twice: the first failed call of a process makes
Redis count as away, and until a probe has seen it take a write again no call is even tried.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TypeVar

import redis

import logs
import redisclient

# Seconds between two probes of a Redis that is away.
PROBE_SECONDS = 1.0

T = TypeVar("T")

logger = logging.getLogger("doorbell")


class Doorbell:
    """The Redis at `url`, for all threads of a process; nothing is sent before it is used."""

    def __init__(self, url: str, key: str) -> None:
        self.client = redisclient.connect(url)
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
        redisclient.close(self.client)
