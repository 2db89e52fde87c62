"""Redis as app and worker use it: rung while it works, and left alone while it doesn't.

Nothing depends on Redis, so nobody waits for it twice: the first failed call of a process makes
Redis count as away, and until a probe has gone well no call is even tried. An answer that refuses a
command (of a replica, of a Redis without memory, of one whose user may not) is a failed call, too.

By then another server may be right at the same name or behind the same proxy. So an outage begins
with dropping all connections, and each probe tries new ones.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import TypeVar

import redis

import logs
import redisclient

# Seconds between two probes of a Redis that is away.
PROBE_SECONDS = 1.0

# Errors that are answers; redis-py takes the latter two for connections that fail.
_REFUSALS = redis.ResponseError, redis.AuthenticationError, redis.BusyLoadingError
# Different faults of an outage that are logged, at most: some follow one another in turns.
MAX_FAULTS = 5

T = TypeVar("T")

logger = logging.getLogger("doorbell")


class Doorbell:
    """The Redis at `url`, for all threads of a process; nothing is sent before it is used.

    `trials` are what the process needs of Redis, each a call that raises redis.RedisError if Redis
    doesn't do it. `probes` are further ones that others notice, and so only for a Redis that is
    away. Both are to be filled before threads start.
    """

    def __init__(self, url: str, key: str) -> None:
        self.client = redisclient.connect(url)
        self.key = key
        # Out of memory or without a disk, Redis answers and takes no write.
        self.trials: list[Callable[[], object]] = [
            lambda: self.client.set(f"{key}:probe", "", ex=10)
        ]
        self.probes: list[Callable[[], object]] = []
        self._outage = logs.Outage("redis", logger)
        self._lock = threading.Lock()
        self._outages = 0
        self._refusal: str | None = None
        # The refusals of this outage that were logged.
        self._faults: set[str | None] = set()

    @property
    def away(self) -> bool:
        """True from a failed call to the next probe that goes well."""
        return self._outage.lasting

    @property
    def refusal(self) -> str | None:
        """What Redis answered instead of doing what it was asked; None if it is there, or away
        without an answer."""
        return self._refusal

    def use(self, call: Callable[[], T]) -> T | None:
        """What `call` returns; None, without calling or after it failed, while Redis is away."""
        if self.away:
            return None
        outages = self._outages
        answer: T | None
        try:
            answer = call()
        except redis.RedisError as error:
            if outages == self._outages:
                self._failed(error)
                return None
            answer = None  # a late word of an outage that is known already
        if outages != self._outages:
            redisclient.drop_idle(self.client)  # this call's, which was in use as the others went
        return answer

    def check(self) -> None:
        """Try what this process seldom asks of Redis, so that a fault shows while it is idle."""
        self.use(lambda: [trial() for trial in self.trials])

    def probe(self) -> None:
        """If Redis is away, try on new connections whether it does all that is asked of it."""
        if not self.away:
            return
        redisclient.drop_idle(self.client)
        try:
            for trial in (*self.trials, *self.probes):
                trial()
        except redis.RedisError as error:
            self._faults.add(self._refusal)
            self._failed(error)
            if self._refusal not in self._faults and len(self._faults) < MAX_FAULTS:
                logger.error(logs.line("refused", server="redis", error=error))
            return
        self._refusal = None
        self._outage.end()

    def _failed(self, error: redis.RedisError) -> None:
        with self._lock:
            if not self.away:
                self._outages += 1
                self._faults.clear()
            self._refusal = logs.said(error) if isinstance(error, _REFUSALS) else None
            self._outage.begin(error)
        redisclient.drop_idle(self.client)

    def close(self) -> None:
        """Close the connections."""
        redisclient.close(self.client)
