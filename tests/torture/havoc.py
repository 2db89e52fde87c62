"""The harm that a torture run does, and when.

Harm comes in families. Those with a goal are spread over the run so that each is reached in time.
A run goes on after its seconds until all goals are reached and all emails are uploaded. A family
whose goal is reached does no more harm then: on a busy machine, work would never recover from it.
"""

from __future__ import annotations

import math
import os
import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

import psycopg2
import redis

from harness.polling import eventually
from torture.recovery import Recoveries
from torture.stage import QUEUE_KEY, READY, TURN_TIMEOUT, WORKER_THREADS, Database, Stage

# Families are paced so that their goals are reached in this part of the run. The others come at
# this distance on average, in seconds.
SPREAD = 0.9
OTHER_SECONDS = 1.5
# Seconds: the least between two of a family; the longest between two looks whether all is over; and
# until the next attempt when there was nothing to harm.
LEAST = 0.1
LONGEST_WAIT = 1.0
AGAIN = 0.3
SWITCHED_SECONDS = 1.0
READ_ONLY_SECONDS = 1.0
# Seconds of a short stop, and of a long one after the turns of the stopped worker are given up.
STOPPED_SECONDS, LONGER_SECONDS = 1.0, 1.5
# Seconds: the longest wait for an upload to aim at, and how far into it a kill may come.
AIM_SECONDS, STORING_SECONDS = 1.0, 0.015


# Returns the most turns that a harm loses: it takes how many processes or connections were harmed,
# and the number of threads of all workers.
Lost = Callable[[int, int], int]


def _none(harmed: int, threads: int) -> int:
    return 0


def _of_worker(harmed: int, threads: int) -> int:
    """Each thread of a worker loses the turn that it is on, and begins no other."""
    return harmed * WORKER_THREADS


def _of_backend(harmed: int, threads: int) -> int:
    """A connection of a turn loses that turn; the one of a journal, all turns of its worker."""
    return min(harmed * WORKER_THREADS, threads)


def _of_all(harmed: int, threads: int) -> int:
    """Each thread loses the turn that it is on, and gets no connection until all is over."""
    return threads


@dataclass(frozen=True)
class Harm:
    """`act` returns how many it has harmed; 0 when there was nothing to harm just now.

    A lost turn leaves no more emails without an outcome than were handed out at once. That is why
    `lost` limits how many are interrupted.
    """

    name: str
    family: str
    weight: int
    act: Callable[[Havoc], int]
    lost: Lost = _none


class Pace:
    """When the next harm of a family is due, in seconds since the start."""

    def __init__(self, goal: int, seconds: float, rng: random.Random) -> None:
        self._goal = goal
        self._seconds = seconds
        self._mean = SPREAD * seconds / goal
        self._rng = rng
        self.next = self._mean * rng.random()

    def advance(self, elapsed: float, count: int) -> None:
        """Set the next time after one at `elapsed`, the `count`th.

        It is math.inf, or never, if the goal is reached and the time would be after the run's end.
        """
        left, mean = self._goal - count, self._mean
        if left > 0:
            mean = min(mean, max(0.0, SPREAD * self._seconds - elapsed) / left)
        self.next = elapsed + max(LEAST, mean * self._rng.uniform(0.3, 1.7))
        if left <= 0 and self.next > self._seconds:
            self.next = math.inf

    def put_off(self, elapsed: float) -> None:
        """There was nothing to harm: try the same harm again soon."""
        self.next = elapsed + AGAIN


class Havoc:
    """Does harm at random: run() is a thread's work, and all else is that thread's too.

    `kills` counts by family what the goals are about, `events` by the name of the harm.
    """

    def __init__(
        self,
        stage: Stage,
        recoveries: Recoveries,
        goals: dict[str, int],
        seconds: float,
        rng: random.Random,
        storing: threading.Event,
    ) -> None:
        """`storing` is set while the app has an upload to store."""
        self._storing = storing
        self._stage = stage
        self._recoveries = recoveries
        self._rng = rng
        self._database = Database(stage.database_url)
        self._redis = stage.redis_client()
        goals = {**goals, "other": max(1, round(SPREAD * seconds / OTHER_SECONDS))}
        self._paces = {
            family: Pace(goal, seconds, rng) for family, goal in goals.items() if goal > 0
        }
        self._due: dict[str, Harm] = {}
        self.kills: Counter[str] = Counter()
        self.events: Counter[str] = Counter()
        # The most turns that were lost by all that.
        self.turns_lost = 0
        # How often Redis began to forget, and had forgotten, all that it knew.
        self.times_emptied = 0

    def run(self, stopping: threading.Event) -> None:
        """Do harm until `stopping`."""
        began = time.monotonic()
        while True:
            family = min(self._paces, key=lambda family: self._paces[family].next)
            pace = self._paces[family]
            wait = max(0.0, pace.next - (time.monotonic() - began))
            if stopping.wait(min(wait, LONGEST_WAIT)):
                break
            if wait > LONGEST_WAIT:
                continue
            harmed = self.run_once(family)
            elapsed = time.monotonic() - began
            if harmed:
                pace.advance(elapsed, self.kills[family])
            else:
                pace.put_off(elapsed)
        self._database.close()
        self._redis.close()

    def run_once(self, family: str) -> bool:
        """Do one harm of the family; False if there was nothing to harm: it's then still due."""
        harm = self._due.pop(family, None)
        if harm is None:
            table = [harm for harm in HARM if harm.family == family]
            (harm,) = self._rng.choices(table, [harm.weight for harm in table])
        emptying = family == "redis"
        self.times_emptied += emptying
        try:
            harmed = harm.act(self)
        except (psycopg2.Error, redis.RedisError, OSError):
            harmed = 0  # the server is down already
        self.times_emptied += emptying
        if not harmed:
            self._due[family] = harm
        else:
            self._stage.note(f"{harm.name}: {int(harmed)}")
            self.events[harm.name] += 1
            self.kills[family] += harmed
            self.turns_lost += harm.lost(harmed, WORKER_THREADS * len(self._stage.workers))
            self._recoveries.measure(family)
        return harmed > 0

    # Kills.

    def _kill_worker(self) -> int:
        return self._rng.choice(self._stage.workers).kill()

    def _kill_all_workers(self) -> int:
        return sum(worker.kill() for worker in self._stage.workers)

    def _kill_app(self) -> int:
        return self._stage.app.kill()

    def _aimed(self) -> bool:
        """Wait until the app is somewhere in storing a batch; False if it isn't about to."""
        if not self._storing.wait(AIM_SECONDS):
            return False
        threading.Event().wait(self._rng.uniform(0.0, STORING_SECONDS))
        return True

    def _kill_storing_app(self) -> int:
        return self._aimed() and self._stage.app.kill()

    def _kill_storing_postgres(self) -> int:
        return self._aimed() and self._kill_server("postgres")

    def _kill_server(self, kind: str) -> int:
        pid = self._stage.server_pid(kind)
        if pid is None:
            return 0
        os.kill(pid, signal.SIGKILL)
        return 1

    def _kill_postgres(self) -> int:
        return self._kill_server("postgres")

    def _kill_redis(self) -> int:
        return self._kill_server("redis")

    def _switch_redis(self) -> int:
        """Make Redis a replica, of a master that is away, for a moment."""
        self._redis.replicaof("127.0.0.1", 1)
        threading.Event().wait(SWITCHED_SECONDS)
        return bool(self._redis.replicaof("NO", "ONE"))

    def _flush_redis(self) -> int:
        return bool(self._redis.flushall())

    # Stops.

    def _stop_worker(self) -> int:
        return self._rng.choice(self._stage.workers).stop(STOPPED_SECONDS)

    def _stop_worker_for_long(self) -> int:
        """Until its turns are given up, and others have taken them over."""
        return self._rng.choice(self._stage.workers).stop(TURN_TIMEOUT + LONGER_SECONDS)

    # Lesser harm.

    def _terminate_worker(self) -> int:
        return self._rng.choice(self._stage.workers).terminate()

    def _terminate_app(self) -> int:
        return self._stage.app.terminate()

    def _terminate_backends(self) -> int:
        backends = self._backends()
        return self._terminate(self._rng.sample(backends, min(len(backends), 2)))

    def _terminate_all_backends(self) -> int:
        return self._terminate(self._backends())

    def _backends(self) -> list[int]:
        rows = self._database.rows(
            "SELECT pid FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid() ORDER BY pid"
        )
        return [pid for (pid,) in rows]

    def _terminate(self, pids: list[int]) -> int:
        self._database.rows("SELECT pg_terminate_backend(pid) FROM unnest(%s::int[]) AS pid", pids)
        return len(pids)

    def _make_postgres_read_only(self) -> int:
        """For a while; who connects meanwhile has a session that stays so."""
        setting = "default_transaction_read_only"
        self._database.rows(f"ALTER ROLE CURRENT_USER SET {setting} = on; SELECT 1")
        try:
            self._terminate_all_backends()
            threading.Event().wait(READ_ONLY_SECONDS)
        finally:
            # A PostgreSQL that was killed just before may have kept the setting as it died.
            eventually(lambda: self._reset(setting), READY, f"{setting} is reset")
        return 1

    def _reset(self, setting: str) -> bool:
        reset = f"BEGIN READ WRITE; ALTER ROLE CURRENT_USER RESET {setting}; COMMIT; SELECT 1"
        try:
            return bool(self._database.rows(reset))
        except psycopg2.Error:
            return False

    def _cut_redis_clients(self) -> int:
        return int(self._redis.client_kill_filter(_type="normal"))

    def _cut_redis_subscribers(self) -> int:
        return int(self._redis.client_kill_filter(_type="pubsub"))

    def _push_garbage(self) -> int:
        garbage = (["hello", "", "7.5", "null"], ["-1", "0", "999999999", str(2**70)])
        return int(self._redis.lpush(QUEUE_KEY, *self._rng.choice(garbage)))

    def _push_duplicates(self) -> int:
        waiting = self._redis.lrange(QUEUE_KEY, 0, 0) or ["1"]
        return int(self._redis.lpush(QUEUE_KEY, *waiting * 1000))


# Weights count within a family. A short stop and a worker that ends in good order lose no turn.
HARM = (
    Harm("worker killed", "worker", 12, Havoc._kill_worker, _of_worker),
    Harm("all workers killed", "worker", 1, Havoc._kill_all_workers, _of_worker),
    Harm("app killed", "app", 1, Havoc._kill_app),
    Harm("app killed as it stores", "app", 2, Havoc._kill_storing_app),
    Harm("PostgreSQL killed", "postgres", 2, Havoc._kill_postgres, _of_all),
    Harm("PostgreSQL killed as it stores", "postgres", 1, Havoc._kill_storing_postgres, _of_all),
    Harm("Redis killed", "redis", 2, Havoc._kill_redis),
    Harm("Redis flushed", "redis", 1, Havoc._flush_redis),
    Harm("worker stopped", "stop", 2, Havoc._stop_worker),
    Harm("worker stopped for long", "stop", 1, Havoc._stop_worker_for_long, _of_worker),
    Harm("worker terminated", "other", 3, Havoc._terminate_worker),
    Harm("app terminated", "other", 1, Havoc._terminate_app),
    Harm("some backends terminated", "other", 4, Havoc._terminate_backends, _of_backend),
    Harm("all backends terminated", "other", 1, Havoc._terminate_all_backends, _of_backend),
    Harm("PostgreSQL read-only", "other", 2, Havoc._make_postgres_read_only, _of_all),
    Harm("Redis clients cut off", "other", 3, Havoc._cut_redis_clients),
    Harm("Redis subscribers cut off", "other", 2, Havoc._cut_redis_subscribers),
    Harm("Redis made a replica", "other", 2, Havoc._switch_redis),
    Harm("garbage enqueued", "other", 2, Havoc._push_garbage),
    Harm("a thousand duplicates enqueued", "other", 2, Havoc._push_duplicates),
)
