"""Which workers are alive: each announces itself in Redis under a key that expires by itself.

A set names these keys, so that nobody has to search Redis, which others may use too, for them. One
more key, which stays, holds the newest announcement of all. Times are of Redis's clock, the only
one that all hosts share.
"""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import redis
from redis.client import NEVER_DECODE

from runtime import metrics
from runtime.metrics import Sample

# Seconds between two announcements, and until a silent worker counts as gone.
ANNOUNCE_SECONDS = 2.0
EXPIRE_SECONDS = 7
# Beyond any rate or time of ours; sums of such numbers still can be written as JSON.
_LIMIT = 1e15

# The report is a JSON object, which gets two more members in front. Its text is left as it is,
# because cjson would round large numbers. Returns `since`, for the next call.
_ANNOUNCE = """
local time = redis.call('TIME')
local now = string.format('%d.%06d', time[1], time[2])
local since = ARGV[2] ~= '' and ARGV[2] or now
local worker = '{"seen":' .. now .. ',"since":' .. since .. ',' .. string.sub(ARGV[1], 2)
redis.call('SET', KEYS[1], worker, 'EX', ARGV[3])
redis.call('SADD', KEYS[2], KEYS[1])
redis.call('SET', KEYS[3], worker)
return since
"""


@dataclass(frozen=True)
class ThreadReport:
    """What a worker's thread does: since so many seconds the chunk at `first_id`, or nothing."""

    number: int
    batch_id: int | None = None
    first_id: int | None = None
    seconds: float = 0.0


@dataclass(frozen=True)
class Worker:
    """A worker as it announced itself; `rate` in emails per second, times in seconds ago."""

    host: str
    pid: int
    threads: int
    rate: float
    activity: tuple[ThreadReport, ...]
    started_ago: float
    seen_ago: float
    samples: list[Sample] = field(default_factory=list)


@dataclass(frozen=True)
class Roll:
    """The workers alive, and the one that was heard of last, alive or not; None if there is none
    that Redis remembers."""

    alive: list[Worker]
    last_seen: Worker | None


def _set_key(queue_key: str) -> str:
    return f"{queue_key}:workers"


def _last_seen_key(queue_key: str) -> str:
    return f"{queue_key}:last-seen"


class Presence:
    """One worker's announcement. Raises redis.RedisError when Redis is out of reach."""

    def __init__(self, client: redis.Redis, queue_key: str) -> None:
        self._client = client
        self._host, self._pid = socket.gethostname(), os.getpid()
        self._key = f"{queue_key}:worker:{self._host}:{self._pid}"
        self._set = _set_key(queue_key)
        self._last_seen = _last_seen_key(queue_key)
        self._script: Any = client.register_script(_ANNOUNCE)
        self._since = ""

    def announce(self, threads: Sequence[ThreadReport], rate: float) -> None:
        """Say that this worker is alive, what its threads do, its emails per second lately, and
        all that it counts."""
        report = {
            "host": self._host,
            "pid": self._pid,
            "threads": len(threads),
            "rate": rate,
            "activity": [
                {
                    "thread": thread.number,
                    "batchId": thread.batch_id,
                    "firstId": thread.first_id,
                    "seconds": thread.seconds,
                }
                for thread in threads
            ],
            "metrics": metrics.samples(),
        }
        # Kept here as well as in Redis, which may be emptied.
        self._since = self._script(
            keys=[self._key, self._set, self._last_seen],
            args=[json.dumps(report), self._since, EXPIRE_SECONDS],
        )

    def withdraw(self) -> None:
        """Say that it is going."""
        with self._client.pipeline() as pipeline:
            pipeline.srem(self._set, self._key)
            pipeline.delete(self._key)
            pipeline.execute()


def workers(client: redis.Redis, queue_key: str) -> Roll:
    """The workers that Redis knows of; what is no announcement is left out.

    Raises redis.RedisError.
    """
    set_key = _set_key(queue_key)
    # Bytes, because one value that is no text would spoil the whole answer.
    raw = {NEVER_DECODE: True}
    ask: Any = client.execute_command
    keys = sorted(ask("SMEMBERS", set_key, **raw))
    values = ask("MGET", *keys, _last_seen_key(queue_key), **raw)
    seconds, microseconds = client.time()
    now = seconds + microseconds / 1e6
    # A worker that was killed left its name behind. One that comes back just now says so again.
    gone = [key for key, value in zip(keys, values, strict=False) if value is None]
    if gone:
        client.srem(set_key, *gone)
    *named, last_seen = (_parse(value, now) for value in values)
    # If a clock is set back, keys outlast their time, and reports seem to be of the future.
    alive = [worker for worker in named if worker and worker.seen_ago <= EXPIRE_SECONDS]
    return Roll(alive, last_seen)


def _parse(value: bytes | None, now: float) -> Worker | None:
    """The worker in a value that anybody may have written; None if there is none in it."""
    if value is None:
        return None
    try:
        fields = json.loads(value)
        fields["host"].encode()  # half a surrogate pair could not be sent to a browser
        return Worker(
            host=fields["host"],
            pid=int(fields["pid"]),
            threads=int(fields["threads"]),
            rate=_number(fields["rate"]),
            activity=tuple(_thread(each) for each in fields["activity"]),
            started_ago=max(0.0, now - _number(fields["since"])),
            seen_ago=abs(now - _number(fields["seen"])),
            # A worker of an older version tells none.
            samples=metrics.parse(fields.get("metrics", [])),
        )
    except (ValueError, KeyError, TypeError, AttributeError, ArithmeticError, RecursionError):
        return None


def _thread(fields: dict[str, Any]) -> ThreadReport:
    batch_id, first_id = fields["batchId"], fields["firstId"]
    return ThreadReport(
        number=int(fields["thread"]),
        batch_id=None if batch_id is None else int(batch_id),
        first_id=None if first_id is None else int(first_id),
        seconds=_number(fields["seconds"]),
    )


def _number(value: Any) -> float:
    """A number in bounds. Raises ValueError, TypeError or OverflowError for anything else."""
    number = float(value)
    if not abs(number) < _LIMIT:  # nor is NaN less
        raise ValueError(value)
    return number
