"""The worker: `python worker.py --threads 4`.

A supervisor runs several threads. Each pops a batch id off the Redis list by itself and takes a
turn on that batch: in one transaction it claims a chunk, processes emails until the chunk is done
or the turn has lasted long enough, writes the outcomes and counts them. If the process dies at any
instant, the transaction is undone and the chunk is free for others.
"""

from __future__ import annotations

import logging
import os
import random
import sys
import threading
import time
from collections.abc import Callable
from itertools import islice

import redis

import bootstrap
import logs
import models
import processors
import progress
from batchqueue import BatchQueue
from embedded import EmbeddedError
from models import Claim, Outcomes, Snapshot
from presence import ANNOUNCE_SECONDS, Presence
from processors import ERROR, PROCESSED, Outcome, Processor, ProcessorError
from settings import Settings, exit_with, load_or_exit

# Seconds that a thread waits at the list at once, and at most after errors.
DEQUEUE_SECONDS = 1.0
MAX_BACKOFF = 2.0
# Kinds of processor errors, by batch, that are remembered as logged.
MAX_LOGGED = 1000
# Seconds between two looks of the supervisor at its threads.
SUPERVISE_SECONDS = 0.2

logger = logging.getLogger("worker")


def process(
    processor: Processor,
    emails: list[tuple[int, str]],
    deadline: float,
    on_error: Callable[[Exception], None],
) -> list[Outcome]:
    """The outcomes of the first of the emails: of one at least, until `deadline` (monotonic).

    An exception fails the email whose outcome was due, and the processor starts anew behind it.
    """
    outcomes: list[Outcome] = []
    while len(outcomes) < len(emails):
        addresses = (address for _, address in islice(emails, len(outcomes), None))
        try:
            for outcome in processor(addresses):
                outcomes.append(outcome if outcome is PROCESSED else processors.checked(outcome))
                if len(outcomes) == len(emails) or time.monotonic() > deadline:
                    return outcomes
            raise ProcessorError("the processor yielded fewer outcomes than it got addresses")
        except Exception as error:
            on_error(error)
            outcomes.append(ERROR)
            if time.monotonic() > deadline:
                break
    return outcomes


def tally(claim: Claim, outcomes: list[Outcome]) -> Outcomes:
    """The outcomes of the claim's first emails, as the database is to store them."""
    complete = len(outcomes) == len(claim.emails)
    return Outcomes(
        last_id=claim.last_id if complete else claim.emails[len(outcomes) - 1][0],
        count=len(outcomes),
        marked=[
            (email_id, outcome.status, outcome.reason)
            for (email_id, _), outcome in zip(claim.emails, outcomes, strict=False)
            if outcome.reason is not None
        ],
    )


class Turns:
    """What worker threads do, turn by turn. They share one object, which keeps no turn's state."""

    def __init__(
        self,
        settings: Settings,
        client: redis.Redis,
        processor: Processor,
        stopping: threading.Event,
    ) -> None:
        self._settings = settings
        self._client = client
        self._queue = BatchQueue(client, settings.redis.queue_key)
        self._processor = processor
        self._stopping = stopping
        self._redis = logs.Outage("redis", logger)
        self._postgres = logs.Outage("postgres", logger)
        # Errors of a processor that were logged, by batch and kind: each once.
        self._logged: set[tuple[int, str]] = set()
        # The batch that was served last while Redis was away, so that all get their turn.
        self._served = 0

    def run_once(self) -> bool:
        """Wait a second at most for a batch, and take a turn on it; False if there was none."""
        batch_id = self._next_batch()
        if batch_id is None:
            return False
        with models.database.connection_context():
            taken = self.take_turn(batch_id)
        self._postgres.end()
        if not taken and self._redis.lasting:
            self._stopping.wait(DEQUEUE_SECONDS)  # others hold all chunks; don't ask in a circle
        return taken

    def run(self) -> None:
        """Take turns until `stopping`; back off while the database can't be reached."""
        failures = 0
        while not self._stopping.is_set():
            try:
                self.run_once()
                failures = 0
            except models.UNREACHABLE as error:
                self._postgres.begin(error)
            except Exception:
                logger.exception("turn failed; its emails are still to be processed")
            else:
                continue
            failures = min(failures + 1, 10)
            # Jitter, so that not all threads of all workers come back at the same moment.
            self._stopping.wait(min(0.1 * 2**failures, MAX_BACKOFF) * random.uniform(0.5, 1.0))

    def sweep(self) -> None:
        """Ring for every unfinished batch that nobody rings for."""
        try:
            with models.database.connection_context():
                unfinished = models.unfinished_batches()
            self._postgres.end()
        except models.UNREACHABLE as error:
            self._postgres.begin(error)
            return
        for batch_id in unfinished:
            if not self._ring(batch_id):
                return

    def take_turn(self, batch_id: int) -> bool:
        """Claim, process, count, commit, publish; False if there was nothing to claim."""
        started = models.start_batch(batch_id)
        if started is not None:
            self._publish(started)
        snapshot: Snapshot | None = None
        try:
            with models.database.atomic() as transaction:
                claim = models.claim_chunk(batch_id)
                if claim is None:
                    return False
                if claim.more:
                    self._ring(batch_id)  # so that other threads join in
                outcomes = tally(claim, self._process(claim))
                snapshot = models.store_outcomes(claim, outcomes)
                if snapshot is None:
                    transaction.rollback()
        except BaseException:
            self._ring(batch_id)
            raise
        if snapshot is not None:
            self._publish(snapshot)
            if outcomes.last_id < claim.last_id:
                self._ring(batch_id)
            if snapshot.terminal:
                logger.info(
                    logs.line(
                        "batch completed",
                        batch=batch_id,
                        emails=snapshot.total,
                        failed=snapshot.failed,
                    )
                )
        return True

    def _process(self, claim: Claim) -> list[Outcome]:
        def on_error(error: Exception) -> None:
            kind = (claim.batch_id, type(error).__name__)
            if kind not in self._logged:
                if len(self._logged) >= MAX_LOGGED:
                    self._logged.clear()
                self._logged.add(kind)
                logger.error(
                    logs.line("processor failed", batch=claim.batch_id, error=kind[1]),
                    exc_info=error,
                )

        deadline = time.monotonic() + self._settings.worker.turn_seconds
        return process(self._processor, claim.emails, deadline, on_error)

    def _next_batch(self) -> int | None:
        """The next id from the list, or from PostgreSQL while Redis is out of reach."""
        try:
            batch_id = self._queue.dequeue(DEQUEUE_SECONDS)
        except redis.RedisError as error:
            self._redis.begin(error)
        else:
            self._redis.end()
            return batch_id
        with models.database.connection_context():
            waiting = models.unfinished_batches(after=self._served, limit=1)
            waiting = waiting or models.unfinished_batches(limit=1)
        if not waiting:
            self._stopping.wait(DEQUEUE_SECONDS)
            return None
        self._served = waiting[0]
        return self._served

    def _ring(self, batch_id: int) -> bool:
        return self._with_redis(lambda: self._queue.enqueue(batch_id))

    def _publish(self, snapshot: Snapshot) -> None:
        prefix = self._settings.redis.channel_prefix
        self._with_redis(lambda: progress.publish(self._client, prefix, snapshot))

    def _with_redis(self, call: Callable[[], object]) -> bool:
        """Whether the call went well. What it would have told, the sweep and the hub find out."""
        try:
            call()
        except redis.RedisError as error:
            self._redis.begin(error)
            return False
        return True


class Supervisor:
    """Starts the threads, replaces those that die, sweeps, announces the worker, and stops it."""

    def __init__(
        self, settings: Settings, client: redis.Redis, turns: Turns, stopping: threading.Event
    ) -> None:
        self._settings = settings.worker
        self._turns = turns
        self._stopping = stopping
        self._presence = Presence(client, settings.redis.queue_key, settings.worker.threads)
        self._threads: dict[int, threading.Thread] = {}
        self._next_sweep = 0.0
        self._next_announcement = 0.0

    def run(self) -> bool:
        """Work until `stopping`; True if all threads had ended their turns in time."""
        logger.info(logs.line("worker started", pid=os.getpid(), threads=self._settings.threads))
        while not self._stopping.is_set():
            try:
                self.run_once()
            except Exception:
                logger.exception("supervisor failed; it goes on")
            self._stopping.wait(SUPERVISE_SECONDS)
        return self._shut_down()

    def run_once(self) -> None:
        """Do what is due: replace dead threads, sweep, announce."""
        self._replace_dead_threads()
        now = time.monotonic()
        if now >= self._next_announcement:
            self._next_announcement = now + ANNOUNCE_SECONDS
            self._quietly(self._presence.announce)
        if now >= self._next_sweep:
            self._next_sweep = now + self._settings.sweep_seconds
            self._turns.sweep()

    def _replace_dead_threads(self) -> None:
        for number in range(1, self._settings.threads + 1):
            thread = self._threads.get(number)
            if thread is not None and thread.is_alive():
                continue
            if thread is not None:
                logger.error(logs.line("thread died; another takes its place", thread=number))
            # A daemon, so that one that hangs can't keep a stopping process alive.
            thread = threading.Thread(target=self._turns.run, name=f"worker-{number}", daemon=True)
            thread.start()
            self._threads[number] = thread

    def _shut_down(self) -> bool:
        logger.info("stopping: the threads end their turns")
        deadline = time.monotonic() + self._settings.shutdown_seconds
        for thread in self._threads.values():
            thread.join(max(0.0, deadline - time.monotonic()))
        self._quietly(self._presence.withdraw)
        hanging = sum(thread.is_alive() for thread in self._threads.values())
        if hanging:
            logger.error(
                logs.line("stopped with turns unfinished; they will be repeated", threads=hanging)
            )
        else:
            logger.info("stopped")
        return not hanging

    @staticmethod
    def _quietly(call: Callable[[], None]) -> None:
        """Call; without Redis there is no presence, and the threads log that outage already."""
        try:
            call()
        except redis.RedisError:
            logger.debug("no presence without Redis", exc_info=True)


def main() -> int:
    """The command. Exit status 0 after a clean stop, 1 after another, 2 for wrong settings."""
    parser = bootstrap.argument_parser(
        "Process the uploaded batches, with several threads. Any number of workers may run, on"
        " any number of machines, against the same PostgreSQL and Redis.",
        "Stop it with Ctrl-C or SIGTERM: each thread ends its turn (about a second) first. A\n"
        "second signal ends it at once. Nothing is lost or counted twice either way, nor by\n"
        "kill -9: an unfinished turn is undone and repeated by another thread or worker.",
    )
    parser.add_argument("--threads", metavar="N", help="threads, instead of [worker] threads")
    arguments = parser.parse_args()
    settings = load_or_exit(arguments, {("worker", "threads"): arguments.threads})
    logs.setup()
    # A processor of the team's own lies beside the configuration as a rule.
    sys.path.append(str(settings.path.parent))
    try:
        processor = processors.load(settings.worker.processor)
    except ProcessorError as error:
        exit_with(f"{settings.path}: [worker] processor: {error}.")
    stopping = bootstrap.stop_on_signals()
    # Each thread holds a connection through its turn; the supervisor needs one for the sweep.
    connections = settings.worker.threads + 2
    try:
        with bootstrap.servers(settings, stopping, connections=connections) as client:
            turns = Turns(settings, client, processor, stopping)
            clean = Supervisor(settings, client, turns, stopping).run()
    except EmbeddedError as error:
        exit_with(f"{error}.")
    return 0 if clean else 1


if __name__ == "__main__":
    sys.exit(main())
