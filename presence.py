"""Which workers are alive: each announces itself in Redis under a key that expires by itself.

A set names these keys, so that nobody has to search Redis, which others may use too, for them.
"""

from __future__ import annotations

import json
import os
import socket
from typing import Any

import redis

# Seconds between two announcements, and until a silent worker counts as gone.
ANNOUNCE_SECONDS = 2.0
EXPIRE_SECONDS = 7


def _set_key(queue_key: str) -> str:
    return f"{queue_key}:workers"


class Presence:
    """One worker's announcement. Raises redis.RedisError when Redis is out of reach."""

    def __init__(self, client: redis.Redis, queue_key: str, threads: int) -> None:
        self._client = client
        host, pid = socket.gethostname(), os.getpid()
        self._set = _set_key(queue_key)
        self._key = f"{queue_key}:worker:{host}:{pid}"
        self._value = json.dumps({"host": host, "pid": pid, "threads": threads})

    def announce(self) -> None:
        """Say that this worker is alive."""
        with self._client.pipeline() as pipeline:
            pipeline.set(self._key, self._value, ex=EXPIRE_SECONDS)
            pipeline.sadd(self._set, self._key)
            pipeline.execute()

    def withdraw(self) -> None:
        """Say that it is going."""
        with self._client.pipeline() as pipeline:
            pipeline.srem(self._set, self._key)
            pipeline.delete(self._key)
            pipeline.execute()


def workers(client: redis.Redis, queue_key: str) -> list[dict[str, Any]]:
    """The workers alive: host, pid and threads of each. Raises redis.RedisError."""
    set_key = _set_key(queue_key)
    members: Any = client.smembers(set_key)
    if not members:
        return []
    keys = sorted(members)
    values: Any = client.mget(keys)
    # A worker that was killed left its name behind. One that comes back just now says so again.
    gone = [key for key, value in zip(keys, values, strict=True) if value is None]
    if gone:
        client.srem(set_key, *gone)
    return [json.loads(value) for value in values if value is not None]
