"""Which workers are alive: each announces itself in Redis under a key that expires by itself."""

from __future__ import annotations

import json
import os
import socket
from typing import Any

import redis

# Seconds between two announcements, and until a silent worker counts as gone.
ANNOUNCE_SECONDS = 2.0
EXPIRE_SECONDS = 7


class Presence:
    """One worker's announcement. Raises redis.RedisError when Redis is out of reach."""

    def __init__(self, client: redis.Redis, queue_key: str, threads: int) -> None:
        self._client = client
        host, pid = socket.gethostname(), os.getpid()
        self._key = f"{queue_key}:worker:{host}:{pid}"
        self._value = json.dumps({"host": host, "pid": pid, "threads": threads})

    def announce(self) -> None:
        """Say that this worker is alive."""
        self._client.set(self._key, self._value, ex=EXPIRE_SECONDS)

    def withdraw(self) -> None:
        """Say that it is going."""
        self._client.delete(self._key)


def workers(client: redis.Redis, queue_key: str) -> list[dict[str, Any]]:
    """The workers alive: host, pid and threads of each. Raises redis.RedisError."""
    # A pattern's special characters in the key's name are to be meant literally.
    pattern = "".join(f"\\{c}" if c in "*?[]\\" else c for c in f"{queue_key}:worker:") + "*"
    keys = list(client.scan_iter(match=pattern, count=1000))
    values: Any = client.mget(keys) if keys else []
    return [json.loads(value) for value in values if value is not None]
