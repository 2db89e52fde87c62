"""Announcements by which Redis knows which workers are alive, and what their threads do.

Each worker announces itself under a key that expires. A set has the names of these keys, so that
nobody has to search Redis, which others may use, too. One more key, which doesn't expire, has the
last announcement of any worker. Times are by Redis's clock, the only one that all hosts share.
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

# Seconds between two announcements, and seconds after which a silent worker counts as gone.
ANNOUNCE_SECONDS = 2.0
EXPIRE_SECONDS = 7
# Larger than any true rate or time. Sums of smaller numbers can be written as JSON.
_LIMIT = 1e15

# KEYS: the worker's key, the set, the key of the last announcement.
# ARGV: the announcement without its times, the time of the first one if known, the seconds to live.
# The times are put in front of the JSON text, because cjson would round large numbers.
# Returns the time of the first announcement.
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
    """The chunk that a worker's thread processes, named by its first id, and for how many seconds.

    An idle thread has none.
    """

    number: int
    batch_id: int | None = None
    first_id: int | None = None
    seconds: float = 0.0


@dataclass(frozen=True)
class Ability:
    """A processor as a worker announces it.

    `name` is that in config.ini; None for the default one, of a worker of an earlier version.
    `per_minute` is the processor's rate, the most emails a minute of all workers; None without.
    `lookups_off` says why the processor looks no domain up in the DNS; it is empty otherwise.
    `hindrance` says why its emails wait at this moment; it is empty otherwise.
    `error` says why the worker can't load it; None if it can.
    """

    name: str | None
    per_minute: int | None = None
    lookups_off: str = ""
    hindrance: str = ""
    error: str | None = None


# The processors of a worker of an earlier version.
DEFAULT_ONLY = (Ability(None),)


@dataclass(frozen=True)
class Worker:
    """A worker as it announced itself; `rate` in emails per second, times in seconds ago.

    `lookups_off` and `hindrance` are those of the first of its processors that has one.
    `per_minute` is the rate of its processor, if it has only one.
    """

    host: str
    pid: int
    threads: int
    rate: float
    activity: tuple[ThreadReport, ...]
    started_ago: float
    seen_ago: float
    lookups_off: str = ""
    hindrance: str = ""
    per_minute: int | None = None
    processors: tuple[Ability, ...] = DEFAULT_ONLY
    samples: list[Sample] = field(default_factory=list)


@dataclass(frozen=True)
class Workers:
    """The workers that are alive, and the one that announced itself last, alive or not."""

    alive: list[Worker]
    last_seen: Worker | None


def _shared_keys(queue_key: str) -> tuple[str, str]:
    """Return the key of the set, and the key of the last announcement."""
    return f"{queue_key}:workers", f"{queue_key}:last-seen"


class Presence:
    """This worker's announcement. Every method raises redis.RedisError when Redis fails."""

    def __init__(self, client: redis.Redis, queue_key: str) -> None:
        self._client = client
        self._host, self._pid = socket.gethostname(), os.getpid()
        self._key = f"{queue_key}:worker:{self._host}:{self._pid}"
        self._set, self._last_seen = _shared_keys(queue_key)
        self._since = ""

    def announce(
        self,
        threads: Sequence[ThreadReport],
        rate: float,
        processors: Sequence[Ability] = DEFAULT_ONLY,
    ) -> None:
        """Announce this worker: threads, emails per second, processors and metrics."""
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
            "processors": [
                {
                    "name": each.name,
                    "perMinute": each.per_minute,
                    "lookupsOff": each.lookups_off,
                    "hindrance": each.hindrance,
                    "error": each.error,
                }
                for each in processors
            ],
            # Apps of earlier versions read these, and know of one processor only.
            "lookupsOff": next((each.lookups_off for each in processors if each.lookups_off), ""),
            "hindrance": next((each.hindrance for each in processors if each.hindrance), ""),
            "perMinute": processors[0].per_minute if len(processors) == 1 else None,
            "metrics": metrics.samples(),
        }
        # Kept here, because Redis may be emptied.
        keys = self._key, self._set, self._last_seen
        told = json.dumps(report), self._since, str(EXPIRE_SECONDS)
        self._since = str(self._client.eval(_ANNOUNCE, len(keys), *keys, *told))

    def withdraw(self) -> None:
        """Remove this worker's announcement."""
        with self._client.pipeline() as pipeline:
            pipeline.srem(self._set, self._key)
            pipeline.delete(self._key)
            pipeline.execute()


def workers(client: redis.Redis, queue_key: str) -> Workers:
    """Return the workers that announced themselves. Values of any other kind are left out.

    Raises redis.RedisError.
    """
    set_key, last_seen_key = _shared_keys(queue_key)
    # As bytes, because decoding fails for the whole answer if one value is no text.
    raw = {NEVER_DECODE: True}
    ask: Any = client.execute_command
    keys = sorted(ask("SMEMBERS", set_key, **raw))
    values = ask("MGET", *keys, last_seen_key, **raw)
    seconds, microseconds = client.time()
    now = seconds + microseconds / 1e6
    # A worker that was killed left its key's name in the set.
    gone = [key for key, value in zip(keys, values, strict=False) if value is None]
    if gone:
        client.srem(set_key, *gone)
    *named, last_seen = (_parse(value, now) for value in values)
    # If Redis's clock is set back, keys live longer, and announcements seem to be of the future.
    alive = [worker for worker in named if worker and worker.seen_ago <= EXPIRE_SECONDS]
    return Workers(alive, last_seen)


def _parse(value: bytes | None, now: float) -> Worker | None:
    """Return the worker in a value, which anybody may have written, or None if it has none."""
    if value is None:
        return None
    try:
        fields = json.loads(value)
        return Worker(
            host=_text(fields["host"]),
            pid=int(fields["pid"]),
            threads=int(fields["threads"]),
            rate=_number(fields["rate"]),
            activity=tuple(_thread(each) for each in fields["activity"]),
            started_ago=max(0.0, now - _number(fields["since"])),
            seen_ago=abs(now - _number(fields["seen"])),
            # Workers of older versions announce none of these.
            lookups_off=_text(fields.get("lookupsOff", "")),
            hindrance=_text(fields.get("hindrance", "")),
            per_minute=_whole_or_none(fields.get("perMinute")),
            processors=_abilities(fields),
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


def _abilities(fields: dict[str, Any]) -> tuple[Ability, ...]:
    if "processors" in fields:
        return tuple(_ability(each) for each in fields["processors"])
    # A worker of an earlier version has one processor, which it doesn't name.
    return (_ability({**fields, "name": None, "error": None}),)


def _ability(fields: dict[str, Any]) -> Ability:
    name, error = fields["name"], fields.get("error")
    return Ability(
        name=None if name is None else _text(name),
        per_minute=_whole_or_none(fields.get("perMinute")),
        lookups_off=_text(fields.get("lookupsOff", "")),
        hindrance=_text(fields.get("hindrance", "")),
        error=None if error is None else _text(error),
    )


def _whole_or_none(value: Any) -> int | None:
    return None if value is None else int(_number(value))


def _text(value: Any) -> str:
    """Return the value. Raises AttributeError or UnicodeError unless a browser can be sent it."""
    text: str = value
    text.encode()  # fails for half a surrogate pair
    return text


def _number(value: Any) -> float:
    """Return the value as a number in bounds. Raises ValueError, TypeError or OverflowError."""
    number = float(value)
    if not abs(number) < _LIMIT:  # NaN is not less, either
        raise ValueError(value)
    return number
