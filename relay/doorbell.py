"""Redis as app and worker use it: called while it works, left alone while it is away.

Nothing depends on Redis, so a process waits for a dead one only once: after the first failed call
Redis is away, and nothing is sent until a probe has succeeded. A call that Redis refuses (because
it is a replica, or for want of memory or permission) has failed, too.

After a failover the same name or proxy may lead to another server. So an outage begins with closing
all idle connections, and each probe makes new ones.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TypeVar

import redis

from runtime import logs, redis_client

# Seconds between two probes of a Redis that is away.
PROBE_SECONDS = 1.0

# Errors by which Redis answers. In redis-py the last two are kinds of ConnectionError.
_REFUSALS = redis.ResponseError, redis.AuthenticationError, redis.BusyLoadingError
# Different refusals that are logged in one outage, at most: some alternate.
MAX_FAULTS = 5

T = TypeVar("T")

logger = logs.Logger("doorbell")


class Doorbell:
    """The Redis at `url`, for all threads of a process. Connects at the first call.

    `key` is that of the list of batch ids; those of all other things begin with it.

    `trials` are calls of all commands that the process needs; they raise redis.RedisError.
    `probes` are further such calls, which other processes notice: made only while Redis is away.
    Fill both before threads start.
    """

    def __init__(self, url: str, key: str) -> None:
        self.client = redis_client.connect(url)
        self.key = key
        # A Redis that is out of memory, or can't write to its disk, answers but refuses writes.
        self.trials: list[Callable[[], object]] = [
            lambda: self.client.set(f"{key}:probe", "", ex=10)
        ]
        self.probes: list[Callable[[], object]] = []
        self._outage = logs.Outage("redis", logger)
        self._lock = threading.Lock()
        self._outages = 0
        # Redis's answer when it refused a command; None if Redis works, or doesn't answer.
        self.refusal: str | None = None
        # The refusals in this outage, so that each is logged once; None for no answer.
        self._faults: set[str | None] = set()

    @property
    def away(self) -> bool:
        """True from a failed call until the next probe that succeeds."""
        return self._outage.lasting

    def use(self, call: Callable[[], T]) -> T | None:
        """Return what `call` returns, or None if it fails. While Redis is away, return None."""
        if self.away:
            return None
        outages = self._outages
        answer = None
        try:
            answer = call()
        except redis.RedisError as error:
            if outages == self._outages:
                self._failed(error)
        if outages != self._outages:
            # If another thread noticed the outage first, this call's connection was still in use.
            redis_client.drop_idle(self.client)
        return answer

    def check(self) -> None:
        """Make the trials, so that a fault shows even if this process makes no other calls."""
        self.use(lambda: [trial() for trial in self.trials])

    def probe(self) -> None:
        """If Redis is away, make all trials and probes; end the outage if none fails."""
        if not self.away:
            return
        redis_client.drop_idle(self.client)
        try:
            for trial in (*self.trials, *self.probes):
                trial()
        except redis.RedisError as error:
            self._faults.add(self.refusal)
            self._failed(error)
            if self.refusal not in self._faults and len(self._faults) < MAX_FAULTS:
                logger.error("refused", server="redis", error=error)
            return
        self.refusal = None
        self._outage.end()

    def _failed(self, error: redis.RedisError) -> None:
        with self._lock:
            if not self.away:
                self._outages += 1
                self._faults.clear()
            self.refusal = logs.said(error) if isinstance(error, _REFUSALS) else None
            self._outage.begin(error)

    def close(self) -> None:
        """Close the connections."""
        redis_client.close(self.client)
