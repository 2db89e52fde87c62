"""Redis as app and worker use it: called while it works, and left alone while it doesn't.

Nothing depends on Redis, so a process waits for a dead one only once: after its first failed call,
Redis counts as away, and no call is tried until a probe has succeeded. An answer that refuses a
command (from a replica, for want of memory, for want of permission) is a failed call, too.

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

# Errors that are answers. In redis-py the latter two are kinds of ConnectionError.
_REFUSALS = redis.ResponseError, redis.AuthenticationError, redis.BusyLoadingError
# The most different refusals of one outage that are logged: some alternate.
MAX_FAULTS = 5

T = TypeVar("T")

logger = logs.Logger("doorbell")


class Doorbell:
    """The Redis at `url`, for all threads of a process; nothing is sent before it is used.

    `trials` are calls of what the process needs of Redis; each raises redis.RedisError if Redis
    doesn't do it. `probes` are further such calls that other processes would notice, and so are
    made only while Redis is away. Both are to be filled before threads start.
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
        self._refusal: str | None = None
        # The refusals that this outage has had, so that each is logged once; None for no answer.
        self._faults: set[str | None] = set()

    @property
    def away(self) -> bool:
        """True from a failed call until the next probe that succeeds."""
        return self._outage.lasting

    @property
    def refusal(self) -> str | None:
        """Redis's answer when it refused a command; None if Redis works, or doesn't answer."""
        return self._refusal

    def use(self, call: Callable[[], T]) -> T | None:
        """Return what `call` returns, or None if it fails; None without a call if Redis is away."""
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
            answer = None  # an outage that began during the call is known already
        if outages != self._outages:
            # This call's connection, which was in use when the idle ones were dropped.
            redis_client.drop_idle(self.client)
        return answer

    def check(self) -> None:
        """Make the trials, so that a fault shows even while this process makes no other calls."""
        self.use(lambda: [trial() for trial in self.trials])

    def probe(self) -> None:
        """If Redis is away, make all trials and probes anew; end the outage if none fails."""
        if not self.away:
            return
        redis_client.drop_idle(self.client)
        try:
            for trial in (*self.trials, *self.probes):
                trial()
        except redis.RedisError as error:
            self._faults.add(self._refusal)
            self._failed(error)
            if self._refusal not in self._faults and len(self._faults) < MAX_FAULTS:
                logger.error("refused", server="redis", error=error)
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
        redis_client.drop_idle(self.client)

    def close(self) -> None:
        """Close the connections."""
        redis_client.close(self.client)
